"""Our decoder and transformers' Qwen3 are one function: the same names, the same logits."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from openeurollm.errors import BadInput
from openeurollm.model.decoder import Decoder, begins
from openeurollm.model.export import configuration, export, load
from openeurollm.model.shape import Shape

SHAPES = {
    "every head its own keys": Shape(400, 2, 64, 2, 2, 32, 192, 64),
    "two heads share keys": Shape(400, 3, 64, 4, 2, 16, 96, 64),
    "all heads share keys": Shape(321, 2, 96, 6, 1, 16, 80, 64),
    "three share keys": Shape(400, 1, 96, 6, 2, 16, 288, 64),
    "heads wider than the stream": Shape(400, 2, 48, 4, 2, 32, 64, 64),
    "embedding and head in one": Shape(400, 2, 64, 4, 2, 16, 96, 64, tied=True),
    "another base": Shape(400, 2, 64, 4, 2, 16, 96, 64, rope_base=1e6),
    "positions divided": Shape(400, 2, 64, 4, 1, 16, 96, 64, True, 10_000.0, "linear", 4.0, 16),
    "long positions divided": Shape(400, 2, 64, 4, 2, 32, 96, 64, False, 10_000.0, "yarn", 4.0, 16),
    "all ways of yarn": Shape(400, 2, 128, 2, 1, 64, 96, 8_192, True, 1e6, "yarn", 8.0, 1_024),
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
    assert sum(parameter.numel() for parameter in Decoder(shape, 0).parameters()) == shape.parameters


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


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=6), share=st.sampled_from(list(SHAPES)))
def test_documents_of_a_row_do_not_see_each_other(lengths, share):
    """Each has the logits that it has alone, wherever it stands in a row."""
    decoder = _random(SHAPES[share]).eval()
    ids = _ids(decoder.shape, 2, sum(lengths))
    pieces = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)).expand(2, -1).clone()
    pieces[1] = 0  # the other row is one document
    with torch.no_grad():
        together = decoder(ids, pieces)
        torch.testing.assert_close(together[1:], decoder(ids[1:]), atol=1e-4, rtol=0)
        for found, part in zip(together[0].split(lengths), ids[0].split(lengths), strict=True):
            torch.testing.assert_close(found, decoder(part[None])[0], atol=1e-4, rtol=0)


def test_where_documents_begin_and_the_last_one_ends():
    pieces = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 2, 0]], dtype=torch.int32)
    found = begins(pieces)
    assert found.tolist() == [0, 2, 5, 8, 9, 10]
    assert found.dtype == torch.int32


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_are_those_of_the_logits(tied, recompute):
    """Of every parameter, with documents and positions without a target, whether activations are kept or not."""
    decoder = _random(replace(SHAPES["two heads share keys"], tied=tied))
    ids, targets = _ids(decoder.shape, 3, 40), _ids(decoder.shape, 3, 41)[:, 1:].clone()
    targets[0, 30:] = -100
    pieces = (torch.arange(40) // 13).expand(3, -1)
    whole = F.cross_entropy(decoder(ids, pieces).flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
    wanted = torch.autograd.grad(whole, list(decoder.parameters()))
    decoder.recompute = recompute
    loss = decoder.losses(ids, targets, pieces)
    found = torch.autograd.grad(loss, list(decoder.parameters()))
    torch.testing.assert_close(loss, whole)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_recomputed_activations_are_not_kept():
    decoder = _random(SHAPES["two heads share keys"])
    ids = _ids(decoder.shape, 4, 64)

    def kept(recompute):
        decoder.recompute, sizes = recompute, []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            decoder.losses(ids, ids)
        return sum(sizes)

    assert kept(True) < kept(False) / 4


def test_the_loss_of_each_position_adds_up():
    decoder = _random(SHAPES["embedding and head in one"])
    ids, targets = _ids(decoder.shape, 3, 20), _ids(decoder.shape, 3, 21)[:, 1:].clone()
    targets[:, ::3] = -100
    pieces = (torch.arange(20) // 7).expand(3, -1)
    each = decoder.nats(ids, targets, pieces)
    assert each.shape == (3, 20)
    assert not each.requires_grad
    assert not each[:, ::3].any()
    torch.testing.assert_close(each.sum(), decoder.losses(ids, targets, pieces).detach())


def test_a_new_decoder_knows_nothing():
    """Every token is as likely as another; with one matrix for embedding and head nearly so."""
    for tied, near in ((False, 1e-5), (True, 0.1)):
        shape = replace(SHAPES["every head its own keys"], tied=tied)
        decoder = Decoder(shape, 3)
        ids = _ids(shape, 4, 32)
        each = decoder.losses(ids, ids.flip(0)).item() / ids.numel()
        assert each == pytest.approx(math.log(400), abs=near)


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
