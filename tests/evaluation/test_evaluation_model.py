"""Scoring: every token once, in bits that a direct computation gives; only safetensors are ever loaded."""

import json
import math
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

from openeurollm.errors import BadInput
from openeurollm.evaluation.material import Material
from openeurollm.evaluation.model import Model, windows
from openeurollm.model.export import load

SHORT = "Il-bnedmin kollha jitwieldu ħielsa."
LONG = "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. " * 8
TEXTS = [SHORT, LONG, "a", "ყველა ადამიანი იბადება თავისუფალი", "<|im_end|>text<|endoftext|>", SHORT + LONG]


@pytest.fixture(scope="module")
def model(tiny):
    return Model(tiny.run.folder("model") / "base")


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the tuned model, to be spoilt."""
    shutil.copytree(tiny.run.folder("tuning"), tmp_path / "model")
    return tmp_path / "model"


# Windows.


@given(st.integers(0, 300), st.integers(2, 40))
def test_windows_count_every_token_exactly_once(length, context):
    ids = list(range(1, length + 1))
    found = windows(0, ids, context)
    counted = [token for window, fresh in found for token in window[len(window) - fresh :]]
    assert counted == ids
    for window, fresh in found:
        assert fresh < len(window) <= context + 1
        assert window == list(range(window[0], window[0] + len(window)))


@given(st.integers(1, 300), st.integers(2, 40))
def test_from_the_second_window_on_a_token_has_half_the_context_before_it(length, context):
    found = windows(0, list(range(1, length + 1)), context)
    assert all(len(window) - fresh >= context / 2 for window, fresh in found[1:])
    assert found[0][0][0] == 0


# Bits.


def _direct(decoder, ids):
    """Bits of `ids` after an end-of-text token, one token at a time, each with what the windows let it see."""
    context, ids, bits = decoder.shape.context, [0, *ids], 0.0
    for place in range(1, len(ids)):
        if place <= context:
            first = 0
        else:
            end = context + 1 + math.ceil((place - context) / (context // 2)) * (context // 2)
            first = min(end, len(ids)) - context - 1
        with torch.no_grad():
            logits = decoder(torch.tensor([ids[first:place]]))[0, -1].double()
        bits -= float(logits.log_softmax(-1)[ids[place]]) / math.log(2)
    return bits


@pytest.mark.parametrize("text", TEXTS[:5], ids=["short", "long", "one letter", "Georgian", "control tokens"])
def test_the_bits_are_those_of_a_direct_computation_with_our_decoder(tiny, model, text):
    folder = tiny.run.folder("model") / "base"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    scored = model.score([text])[0]
    assert scored.bytes == len(text.encode())
    assert scored.bits == pytest.approx(_direct(load(folder).eval(), ids), rel=1e-4)


def test_a_text_costs_the_same_alone_and_among_others(model):
    together = model.score(TEXTS)
    assert [each.bits for each in together] == pytest.approx([model.score([text])[0].bits for text in TEXTS], rel=1e-5)


def test_no_text_costs_nothing(model):
    assert model.score([]) == []
    assert model.score([""])[0].bits == 0


def test_a_model_knows_its_corpus_better_than_noise(model, tiny):
    ((_, text), *_) = Material("mt", tiny.run.folder("corpus") / "mt" / "held-out.parquet", 1_000).documents()
    noise = "".join(sorted(text))
    known, unknown = model.score([text, noise])
    assert known.bits < unknown.bits


def test_a_text_begins_behind_the_end_of_another_whatever_ends_an_answer(model, folder):
    """Tuned models of the Qwen family name <|im_end|> as the token that ends."""
    told = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**told, "eos_token": "<|im_end|>"}))
    assert Model(folder).tokenizer.eos_token_id == 2
    assert Model(folder).start == model.start == 0


# Answers.


def test_answers_are_those_of_the_tuned_model_one_by_one(tiny):
    model = Model(tiny.run.folder("tuning"))
    questions = ["Kif int?", "Ποια είναι η πρωτεύουσα της Ελλάδας και πού βρίσκεται;"]
    assert model.answers(questions, 12) == [model.answers([question], 12)[0] for question in questions]


def test_answers_leave_half_the_context_to_the_question(tiny):
    """More tokens than the context holds are asked for; the model is never run beyond its positions."""
    model = Model(tiny.run.folder("tuning"))
    answer = model.answers(["word " * 200], 1_000)[0]
    assert len(model.tokenizer(answer, add_special_tokens=False)["input_ids"]) <= model.context // 2 + 1


# Folders that are no models.


def test_a_folder_that_is_no_model_is_bad_input(tmp_path):
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BadInput, match="no model here"):
            Model(place)


class _Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickled_weights_are_refused_and_never_opened(folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**weights, "trap": _Trap(tmp_path / "sprung")}, folder / "pytorch_model.bin")
    with pytest.raises(BadInput, match="cannot be loaded"):
        Model(folder)
    assert not (tmp_path / "sprung").exists()


def test_code_that_comes_with_a_model_is_never_run(folder, tmp_path):
    (folder / "code.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\nclass C: pass\n")
    named = {"auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.C"}, "model_type": "own"}
    (folder / "config.json").write_text(json.dumps({**json.loads((folder / "config.json").read_text()), **named}))
    with pytest.raises(BadInput, match="cannot be loaded"):
        Model(folder)
    assert not (tmp_path / "sprung").exists()


def _configure(folder, **values):
    (folder / "config.json").write_text(json.dumps({**json.loads((folder / "config.json").read_text()), **values}))


def _lose(folder, name):
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


BROKEN = {
    "weights cut short": lambda f: (f / "model.safetensors").write_bytes(
        (f / "model.safetensors").read_bytes()[:5_000]
    ),
    "weights of nought bytes": lambda f: (f / "model.safetensors").write_bytes(b""),
    "no weights": lambda f: (f / "model.safetensors").unlink(),
    "a tensor is missing": lambda f: _lose(f, "model.layers.0.mlp.up_proj.weight"),
    "weights of another model": lambda f: _configure(f, model_type="bert", architectures=["BertForMaskedLM"]),
    "another width": lambda f: _configure(f, hidden_size=128),
    "a width that is text": lambda f: _configure(f, hidden_size="64"),
    "no heads": lambda f: _configure(f, num_attention_heads=0),
    "a configuration that is a list": lambda f: (f / "config.json").write_text("[]"),
    "a configuration that is empty": lambda f: (f / "config.json").write_text(""),
    "a configuration that is not UTF-8": lambda f: (f / "config.json").write_bytes(b"\xff\xfe"),
    "no tokenizer": lambda f: [(f / name).unlink() for name in ("tokenizer.json", "tokenizer_config.json")],
    "a tokenizer that is none": lambda f: (f / "tokenizer.json").write_text("{}"),
}


@pytest.mark.parametrize("spoil", BROKEN.values(), ids=BROKEN)
def test_a_broken_model_is_bad_input_in_one_line(folder, spoil):
    spoil(folder)
    with pytest.raises(BadInput) as told:
        Model(folder)
    assert str(told.value).startswith(str(folder))
    assert "\n" not in str(told.value)


def test_a_model_whose_head_is_its_embedding_is_taken(tiny, folder):
    """As most small published models are; its weights rightly lack the head."""
    config = Qwen3Config(**{**json.loads((folder / "config.json").read_text()), "tie_word_embeddings": True})
    Qwen3ForCausalLM(config).save_pretrained(folder)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert Model(folder).score([SHORT])[0].bits > 0
