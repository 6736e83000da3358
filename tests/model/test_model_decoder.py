"""Our decoder and transformers' Qwen3 are one function: the same names, the same logits."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from openeurollm.errors import BadInput
from openeurollm.model.decoder import Decoder
from openeurollm.model.export import configuration, export, load
from openeurollm.model.shape import Shape

SHAPES = {
    "every head its own keys": Shape(400, 2, 64, 2, 2, 32, 192, 64),
    "two heads share keys": Shape(400, 3, 64, 4, 2, 16, 96, 64),
    "all heads share keys": Shape(321, 2, 96, 6, 1, 16, 80, 64),
    "three share keys": Shape(400, 1, 96, 6, 2, 16, 288, 64),
    "heads wider than the stream": Shape(400, 2, 48, 4, 2, 32, 64, 64),
}


def _random(shape, seed=0):
    """A decoder with nothing at zero or one, and logits of order one."""
    decoder = Decoder(shape, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in decoder.parameters():
            spread = 0.3 if parameter.ndim == 1 else parameter.shape[1] ** -0.5
            noise = torch.randn(parameter.shape, generator=generator) * spread
            parameter.copy_(1 + noise if parameter.ndim == 1 else noise)
    return decoder


def _ids(shape, rows, length):
    return torch.from_numpy(np.random.default_rng(length).integers(0, shape.vocabulary, (rows, length)))


@pytest.mark.parametrize("length", [1, 2, 17, 64])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_logits_are_those_of_transformers(shape, length):
    ours = _random(shape).eval()
    theirs = Qwen3ForCausalLM(Qwen3Config(**configuration(shape))).eval()
    theirs.load_state_dict(ours.state_dict())
    ids = _ids(shape, 3, length)
    with torch.no_grad():
        mine, other = ours(ids), theirs(ids).logits
    assert mine.shape == (3, length, shape.vocabulary)
    assert mine.std() > 0.1
    torch.testing.assert_close(mine, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_parameters_have_hugging_faces_names_and_shapes(shape):
    ours = {name: tensor.shape for name, tensor in Decoder(shape, 0).state_dict().items()}
    theirs = Qwen3ForCausalLM(Qwen3Config(**configuration(shape))).state_dict()
    assert ours == {name: tensor.shape for name, tensor in theirs.items()}
    assert sum(tensor.numel() for tensor in theirs.values()) == shape.parameters


@pytest.mark.parametrize("model", ["base", "tuned"])
def test_the_exported_models_have_the_same_logits_in_transformers(tiny, model):
    folder = tiny.run.folder("model") / model
    theirs, told = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(told.values())
    ours = load(folder).eval()
    assert ours.shape.heads > ours.shape.key_value_heads
    for length in (1, 7, 64):
        ids = _ids(ours.shape, 2, length)
        with torch.no_grad():
            torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("model", ["base", "tuned"])
def test_the_probe_holds_what_the_decoder_computes(tiny, model):
    folder = tiny.run.folder("model") / model
    probe = load_file(folder / "probe.safetensors")
    assert probe["logits"].std() > 0.1
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(theirs(probe["input_ids"][None]).logits[0], probe["logits"], atol=1e-4, rtol=0)


def test_a_model_answers_alone_in_transformers(tiny):
    """Generation in steps with a cache gives what one pass gives."""
    theirs = AutoModelForCausalLM.from_pretrained(tiny.run.folder("tuning"), dtype=torch.float32)
    ours, ids = load(tiny.run.folder("tuning")).eval(), torch.tensor([[1, 300, 301]])
    found = theirs.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None)
    for _ in range(8):
        with torch.no_grad():
            ids = torch.cat([ids, ours(ids)[:, -1].argmax(-1, keepdim=True)], 1)
    assert found.tolist() == ids.tolist()


def test_what_comes_later_does_not_change_what_came_before():
    decoder = _random(SHAPES["two heads share keys"]).eval()
    ids = _ids(decoder.shape, 1, 20)
    changed = ids.clone()
    changed[0, 10:] = 7
    with torch.no_grad():
        one, other = decoder(ids), decoder(changed)
    assert torch.equal(one[0, :10], other[0, :10])
    assert not torch.equal(one[0, 10:], other[0, 10:])


def test_the_loss_counts_targets_and_leaves_out_the_rest():
    decoder = _random(SHAPES["two heads share keys"]).eval()
    ids, targets = _ids(decoder.shape, 2, 8), _ids(decoder.shape, 2, 9)[:, 1:].clone()
    targets[0, :5] = -100
    with torch.no_grad():
        wanted = -decoder(ids).log_softmax(-1).gather(2, targets.clamp(min=0)[..., None])[..., 0]
        assert decoder.losses(ids, targets).item() == pytest.approx(wanted[targets >= 0].sum().item(), rel=1e-5)


def test_a_seed_gives_one_model():
    shape = SHAPES["two heads share keys"]
    one, same, other = (Decoder(shape, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_a_folder_comes_back_as_it_was_written(tiny, tmp_path):
    decoder = _random(SHAPES["all heads share keys"])
    export(decoder, tmp_path / "model", tiny.run.folder("tokenizer"), end=2)
    back = load(tmp_path / "model")
    assert back.shape == decoder.shape
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in decoder.state_dict().items())
    assert json.loads((tmp_path / "model" / "generation_config.json").read_text())["eos_token_id"] == 2
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "probe.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_the_same_weights_give_the_same_bytes(tiny, tmp_path):
    """Written often, since a header of several entries in any order would be the same now and then."""
    decoder = _random(SHAPES["all heads share keys"])
    files = set()
    for number in range(8):
        export(decoder, tmp_path / str(number), tiny.run.folder("tokenizer"), end=2)
        files.add((tmp_path / str(number) / "model.safetensors").read_bytes())
    assert len(files) == 1


def _without(name):
    def edit(folder):
        weights = load_file(folder / "model.safetensors")
        del weights[name]
        save_file(weights, folder / "model.safetensors")

    return edit


def _cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2_000])


BROKEN = {
    "a tensor is missing": _without("model.norm.weight"),
    "cut short": _cut,
    "empty": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "another shape": lambda folder: (folder / "config.json").write_text(
        (folder / "config.json").read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3')
    ),
    "a configuration that is none": lambda folder: (folder / "config.json").write_text("[]"),
    "no configuration": lambda folder: (folder / "config.json").unlink(),
}


@pytest.mark.parametrize("edit", BROKEN.values(), ids=BROKEN)
def test_a_broken_folder_is_bad_input(tiny, tmp_path, edit):
    export(_random(SHAPES["all heads share keys"]), tmp_path / "model", tiny.run.folder("tokenizer"), end=2)
    edit(tmp_path / "model")
    with pytest.raises(BadInput):
        load(tmp_path / "model")
