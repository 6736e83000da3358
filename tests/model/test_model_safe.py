"""A file of safetensors is looked at before it is opened."""

import json
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

from openeurollm.errors import BadInput
from openeurollm.model.safe import MAX_HEADER, check

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
NOTHING = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}


def _file(tmp_path, header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + data)
    return path


def test_tells_what_the_library_wrote(tmp_path):
    tensors = {"a": torch.zeros(2, 3), "b": torch.ones(5, dtype=torch.bfloat16), "step": torch.tensor(7)}
    save_file(tensors, str(tmp_path / "a.safetensors"), metadata={"format": "pt"})
    found = check(tmp_path / "a.safetensors")
    assert found.metadata == {"format": "pt"}
    assert {name: (each.dtype, each.shape) for name, each in found.tensors.items()} == {
        "a": ("F32", (2, 3)),
        "b": ("BF16", (5,)),
        "step": ("I64", ()),
    }


def _two(first, second):
    return {"a": {**F32, "data_offsets": first}, "b": {**F32, "data_offsets": second}}


HOSTILE = {
    "empty": (b"", b"", 0, "no header"),
    "length over the file": (b"{}", b"", 100, "truncated"),
    "length over the bound": (b"{}", b"", 2**63, "are the most"),
    "no JSON": (b"{{", b"", None, "not JSON"),
    "not UTF-8": (b'{"\xff": 1}', b"", None, "utf-8"),
    "nested": (b"[" * 100_000, b"", None, "not JSON"),
    "a number of a million digits": (b'{"a": 1' + b"0" * 1_000_000 + b"}", b"", None, "digits"),
    "not a number": (b'{"a": NaN}', b"", None, "no number"),
    "a list": (b"[1]", b"", None, "no table"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b"", None, "metadata"),
    "a name twice": (b'{"a": 1, "a": 2}', b"", None, "twice"),
    "many tensors": (dict.fromkeys(map(str, range(60_000)), NOTHING), b"", None, "tensors"),
    "many dimensions": ({"a": {**F32, "shape": [1] * 100_000 + [2]}}, bytes(8), None, "dimensions"),
    "a long name": ({"a" * 10_000: F32}, bytes(8), None, "signs"),
    "an unknown type": ({"a": {**F32, "dtype": "F7"}}, bytes(8), None, "type"),
    "a negative dimension": ({"a": {**F32, "shape": [-1, -2]}}, bytes(8), None, "whole number"),
    "a fraction": ({"a": {**F32, "shape": [2.0]}}, bytes(8), None, "whole number"),
    "a truth value": ({"a": {**F32, "shape": [True, 2]}}, bytes(8), None, "whole number"),
    "an overflow": ({"a": {**F32, "shape": [2**62, 4]}}, bytes(8), None, "bytes for F32"),
    "a wrong size": ({"a": {**F32, "shape": [3]}}, bytes(8), None, "bytes for F32"),
    "overlapping": (_two([0, 8], [4, 12]), bytes(12), None, "was due"),
    "the same place": (_two([0, 8], [0, 8]), bytes(8), None, "was due"),
    "a gap": (_two([0, 8], [16, 24]), bytes(24), None, "was due"),
    "outside the file": (_two([0, 8], [8, 16]), bytes(12), None, "truncated"),
    "more than told": ({"a": F32}, bytes(9), None, "more than"),
    "another key": ({"a": {**F32, "more": 1}}, bytes(8), None, "place"),
    "no place": ({"a": {"dtype": "F32", "shape": [2]}}, bytes(8), None, "place"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_ends_in_one_line(tmp_path, what):
    header, data, length, said = HOSTILE[what]
    with pytest.raises(BadInput, match=said) as refused:
        check(_file(tmp_path, header, data, length))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "absent", tmp_path, tmp_path / "pipe", tmp_path / "a\0b"):
        with pytest.raises(BadInput):
            check(place)


def test_the_largest_header_takes_little_memory(tmp_path):
    path = _file(tmp_path, b"[" + b"[]," * (MAX_HEADER // 3 - 3) + b"[]]")
    limit = 700 << 20
    program = (
        "import pathlib, resource, sys\n"
        "from openeurollm.errors import BadInput\nfrom openeurollm.model.safe import check\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    check(pathlib.Path(sys.argv[1]))\nexcept BadInput as error:\n    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    said, kilobytes = done.stdout.splitlines()
    assert "no table" in said and int(kilobytes) * 1024 < limit


@given(st.data())
def test_a_changed_byte_is_refused_or_harmless(tmp_path_factory, data):
    whole = save({"a": torch.arange(6.0), "b": torch.zeros(2, 2)})
    place = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path_factory.mktemp("changed") / "x.safetensors"
    path.write_bytes(whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :])
    try:
        found = check(path)
    except BadInput:
        return
    assert {name: tuple(each.shape) for name, each in load_file(path).items()} == {
        name: each.shape for name, each in found.tensors.items()
    }


@given(st.integers(0, 200))
def test_a_truncated_file_is_refused(tmp_path_factory, kept):
    whole = save({"a": torch.arange(6.0), "b": torch.zeros(2, 2)})
    path = tmp_path_factory.mktemp("truncated") / "x.safetensors"
    path.write_bytes(whole[: min(kept, len(whole) - 1)])
    with pytest.raises(BadInput):
        check(path)
