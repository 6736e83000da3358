"""What is written, transformers reads as we do."""

import json
import os

import pytest
import torch
from folders import SHAPE, logits, random, tokenizer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GenerationConfig, Qwen3Config

from openeurollm.model.export import configuration, export, load
from openeurollm.model.shape import Shape

LONG = {"context": 256, "original_context": 64, "rope_factor": 4.0}
SHAPES = {
    "plain": {},
    "tied": {"tied": True},
    "another base": {"rope_base": 1e6},
    "linear": {"rope_scaling": "linear", **LONG},
    "yarn": {"rope_scaling": "yarn", **LONG, "rope_base": 1e6},
}


def _shape(**changes):
    return Shape(**{**SHAPE.asdict(), **changes})


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return tokenizer(tmp_path_factory.mktemp("words"), pad_token="<|pad|>")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("files", ["one file", "several"])
@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_transformers_computes_the_same(words, tmp_path, changes, files, dtype):
    decoder = random(_shape(**changes))
    before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    export(decoder, tmp_path, words, end=2, dtype=dtype, shard_bytes=10**9 if files == "one file" else 40_000)
    assert all(torch.equal(tensor, before[name]) for name, tensor in decoder.state_dict().items())
    assert (files == "several") == (tmp_path / "model.safetensors.index.json").is_file()
    other, told = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, output_loading_info=True)
    assert not any(told.values())
    ours = load(tmp_path)
    assert ours.shape == decoder.shape
    ids = torch.randint(0, 300, (2, decoder.shape.context), generator=torch.Generator().manual_seed(1))
    mine = logits(ours, ids)
    assert mine.std() > 0.1
    torch.testing.assert_close(mine, logits(other, ids), atol=1e-4, rtol=0)
    if dtype == torch.float32:
        torch.testing.assert_close(mine, logits(decoder, ids), atol=1e-5, rtol=0)
    probe = load_file(tmp_path / "probe.safetensors")
    torch.testing.assert_close(logits(other, probe["input_ids"][None])[0], probe["logits"], atol=1e-4, rtol=0)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_round_trip_keeps_every_bit(words, tmp_path, dtype):
    decoder = random(_shape(tied=True))
    export(decoder, tmp_path / "one", words, end=2, dtype=dtype)
    export(load(tmp_path / "one"), tmp_path / "other", words, end=2, dtype=dtype)
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "other" / file.name).read_bytes()
    assert "lm_head.weight" not in load_file(tmp_path / "one" / "model.safetensors")


def test_a_folder_that_is_written_again_holds_one_model(words, tmp_path):
    export(random(), tmp_path, words, end=2, shard_bytes=40_000)
    several = len(list(tmp_path.glob("*.safetensors")))
    export(random(seed=1), tmp_path, words, end=2)
    assert several > 3 and len(list(tmp_path.glob("*.safetensors"))) == 2
    ids = torch.arange(20)[None]
    assert torch.equal(logits(load(tmp_path), ids), logits(random(seed=1), ids))


def test_files_are_no_larger_than_asked_for_and_the_index_names_every_tensor(words, tmp_path):
    decoder = random()
    export(decoder, tmp_path, words, end=2, shard_bytes=100_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == dict(decoder.named_parameters()).keys()
    assert index["metadata"]["total_size"] == 4 * decoder.shape.parameters
    for name in set(index["weight_map"].values()):
        assert sum(tensor.nbytes for tensor in load_file(tmp_path / name).values()) <= 100_000


def test_who_may_read_a_folder_may_read_its_weights(words, tmp_path):
    before = os.umask(0o027)
    try:
        export(random(), tmp_path / "model", words, end=2)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "model").iterdir()} == {0o640}


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_older_versions_read_how_positions_turn_from_keys_of_their_own(changes):
    told = configuration(_shape(**changes))
    new = Qwen3Config(**{key: value for key, value in told.items() if key not in ("rope_scaling", "rope_theta")})
    old = Qwen3Config(**{key: value for key, value in told.items() if key != "rope_parameters"})
    assert new.rope_parameters == old.rope_parameters == told["rope_parameters"]


@pytest.mark.parametrize("first", [True, False], ids=["special tokens first", "special tokens last"])
@pytest.mark.parametrize("pad", ["<|pad|>", {"content": "<|pad|>"}, None])
def test_the_ids_are_those_of_the_tokenizer(tmp_path, first, pad):
    place = tokenizer(tmp_path / "words", first=first, pad_token=pad)
    (place / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    end = 2 if first else 258
    export(random(), tmp_path / "model", place, end=end)
    wanted = (3 if first else 259) if pad else end
    for told in (GenerationConfig, Qwen3Config):
        found = told.from_pretrained(tmp_path / "model")
        assert (found.eos_token_id, found.pad_token_id) == (end, wanted)
    assert (tmp_path / "model" / "chat_template.jinja").is_file()
