"""Files are whole or absent; names do not lead out of a folder; digests tell any change."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeurollm.errors import BadInput
from openeurollm.ledger import (
    Digests,
    digest,
    digest_of,
    files_below,
    inside,
    read_json,
    remove,
    whole,
    write_json,
    write_text,
)


def test_a_file_appears_only_when_the_block_ends_well(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with whole(path) as partial:
        partial.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError, SystemExit])
def test_an_exception_leaves_nothing(tmp_path, error):
    path = tmp_path / "file.txt"
    with pytest.raises(error), whole(path) as partial:
        partial.write_text("half of it")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_the_file_of_before(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "before")
    with pytest.raises(ValueError), whole(path) as partial:
        partial.write_text("after")
        raise ValueError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "file.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_more_leaves_nothing(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from openeurollm.ledger import write_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "write_text(Path(sys.argv[1]) / 'file.txt', 'x' * 1_000_000)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_kill_9_leaves_no_file_and_only_a_hidden_name(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from openeurollm.ledger import whole\n"
        "with whole(Path(sys.argv[1]) / 'file.txt') as partial:\n"
        "    partial.write_text('half of it'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    assert not (tmp_path / "file.txt").exists()
    assert files_below(tmp_path) == []


def test_a_worker_that_outlives_its_run_does_not_write_into_the_next(tmp_path):
    """Both have the same file open, as when a killed run's worker still writes; each file is whole."""
    code = (
        "import sys; from pathlib import Path; from openeurollm.ledger import whole\n"
        "with whole(Path(sys.argv[1])) as partial, open(partial, 'w') as file:\n"
        "    file.write('old'); file.flush(); print('open', flush=True); sys.stdin.readline(); file.write('old')"
    )
    path = tmp_path / "file.txt"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=pipe, stdout=pipe, text=True) as worker:
        assert worker.stdout.readline() == "open\n"
        with whole(path) as partial, open(partial, "w") as file:
            file.write("new")
        assert path.read_text() == "new"
        worker.communicate("\n")
    assert worker.returncode == 0
    assert path.read_text() == "oldold"


@pytest.mark.parametrize(
    "name", ["../secret", "a/../../secret", "/etc/passwd", "..", "link/secret", "link", "a\0b", "circle/x"]
)
def test_names_that_lead_out_are_refused(tmp_path, name):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path)
    (root / "circle").symlink_to(root / "circle")
    with pytest.raises(BadInput):
        inside(root, name)


def test_names_below_the_root_are_taken(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "a")
    assert inside(tmp_path, "a/b.txt") == tmp_path.resolve() / "a" / "b.txt"
    assert inside(tmp_path, "a/../c") == tmp_path.resolve() / "c"
    assert inside(tmp_path, "near/b.txt") == tmp_path.resolve() / "a" / "b.txt"


def test_a_neighbour_with_the_same_beginning_is_outside(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "running").mkdir()
    with pytest.raises(BadInput):
        inside(tmp_path / "run", "../running")


def test_digests_are_sha_256(tmp_path):
    (tmp_path / "file").write_bytes(b"Europe" * 100_000)
    assert digest(tmp_path / "file") == hashlib.sha256(b"Europe" * 100_000).hexdigest()


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), _VALUES, max_size=4))
def test_the_digest_of_a_value_does_not_depend_on_the_order_of_its_keys(value):
    assert digest_of(value) == digest_of(dict(reversed(value.items())))


@given(_VALUES, _VALUES)
def test_the_digest_of_a_value_tells_values_apart(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest_of(one) == digest_of(other)) == same


def test_json_comes_back_as_it_was_written(tmp_path):
    value = {"mt": ["ħ", 1, 2.5, None, True], "ქ": {}}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    assert "ħ" in (tmp_path / "value.json").read_text("utf-8")


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 200_000], ids=["empty", "half", "not UTF-8", "deep"])
def test_a_broken_json_file_is_bad_input(tmp_path, raw):
    (tmp_path / "value.json").write_bytes(raw)
    with pytest.raises(BadInput, match=r"value\.json: not JSON"):
        read_json(tmp_path / "value.json")


def test_a_json_file_that_is_not_there_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_json(tmp_path / "value.json")


def test_hidden_files_and_folders_are_not_listed(tmp_path):
    for name in ("b/2", "a", ".hidden", ".folder/x", "b/.part"):
        write_text(tmp_path / name, "x")
    assert [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)] == ["a", "b/2"]


def test_removing_what_is_not_there_is_no_error(tmp_path):
    remove(tmp_path / "absent")
    remove(tmp_path)
    assert not Path(tmp_path).exists()


def _old(path, text, seconds=100):
    path.write_text(text, "utf-8")
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def test_digests_are_kept_and_a_changed_file_is_read_again(tmp_path):
    file = _old(tmp_path / "a", "one")
    known = Digests(tmp_path / "known.json")
    assert known.of(file) == digest(file)
    known.save()
    kept = json.loads((tmp_path / "known.json").read_text())
    assert [each[3] for each in kept.values()] == [digest(file)]
    kept[str(file.resolve())][3] = "kept"
    (tmp_path / "known.json").write_text(json.dumps(kept))
    assert Digests(tmp_path / "known.json").of(file) == "kept", "it is not read again"
    for change in (lambda: _old(file, "two", 50), lambda: _old(file, "three", 100), lambda: file.write_text("four")):
        change()
        assert Digests(tmp_path / "known.json").of(file) == digest(file)


def test_digests_of_what_was_just_written_are_not_kept(tmp_path):
    (tmp_path / "a").write_text("one")
    known = Digests(tmp_path / "known.json")
    known.of(tmp_path / "a")
    known.save()
    assert not (tmp_path / "known.json").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": [1, 2, 3]}', "null"])
def test_a_damaged_list_of_digests_is_passed_over(tmp_path, text):
    file = _old(tmp_path / "a", "one")
    (tmp_path / "known.json").write_text(text)
    known = Digests(tmp_path / "known.json")
    assert known.of(file) == digest(file)
    known.save()
    assert Digests(tmp_path / "known.json").of(file) == digest(file)
