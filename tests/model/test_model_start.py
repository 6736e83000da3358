"""Any folder of the family is read; a folder that means harm ends in one line."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from folders import SHAPE, SPECIAL, logits, theirs, tokenizer
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GenerationConfig

from openeurollm.errors import BadInput
from openeurollm.evaluation import model as evaluation
from openeurollm.model.export import export, fits, load, shape_of, vocabulary
from openeurollm.recipe import load as load_recipe
from openeurollm.run import run
from openeurollm.serve import model as serve

IDS = torch.randint(0, 300, (2, 48), generator=torch.Generator().manual_seed(1))
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 64}
MODELS = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "another base": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}},
    "yarn": {"rope_parameters": YARN, "max_position_embeddings": 256},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("size", ["50GB", "40KB"], ids=["one file", "several"])
@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_what_transformers_wrote_gives_the_same_logits(tmp_path, changes, size, dtype):
    theirs(**changes).to(dtype).save_pretrained(tmp_path, max_shard_size=size)
    assert (size == "40KB") == (tmp_path / "model.safetensors.index.json").is_file()
    wanted = logits(AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval(), IDS)
    ours = load(tmp_path)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}
    assert wanted.std() > 0.1
    torch.testing.assert_close(logits(ours, IDS), wanted, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    place = tmp_path_factory.mktemp("written")
    theirs().save_pretrained(place, max_shard_size="250KB")
    assert len(list(place.glob("*.safetensors"))) == 2
    return place


@pytest.fixture
def folder(written, tmp_path):
    """Two files with an index, as transformers wrote them."""
    return Path(shutil.copytree(written, tmp_path / "model"))


def _config(folder, **changes):
    told = json.loads((folder / "config.json").read_text())
    told.update(changes)
    (folder / "config.json").write_text(json.dumps(told))


def test_a_folder_of_an_older_version_is_read(folder):
    told = json.loads((folder / "config.json").read_text())
    for key in ("rope_parameters", "layer_types", "dtype"):
        told.pop(key, None)
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    told |= {"rope_theta": 1e6, "rope_scaling": scaling, "torch_dtype": "float32", "max_position_embeddings": 256}
    (folder / "config.json").write_text(json.dumps(told))
    wanted = logits(AutoModelForCausalLM.from_pretrained(folder).eval(), IDS)
    torch.testing.assert_close(logits(load(folder), IDS), wanted, atol=1e-4, rtol=0)
    assert (shape_of(folder).rope_scaling, shape_of(folder).original_context) == ("yarn", 64)


def test_changes_that_leave_the_weights_alone(folder):
    longer = {"context": 256, "rope_scaling": "linear", "rope_factor": 4.0, "original_context": 64}
    changed = load(folder, **longer)
    assert (changed.shape.context, changed.shape.rope_factor) == (256, 4.0)
    _config(folder, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0})
    wanted = logits(AutoModelForCausalLM.from_pretrained(folder).eval(), IDS)
    torch.testing.assert_close(logits(changed, IDS), wanted, atol=1e-4, rtol=0)


def test_a_tied_model_may_have_its_head_in_its_file_too(tmp_path):
    theirs(tie_word_embeddings=True).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    wanted = logits(load(tmp_path), IDS)
    save_file(weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}, file)
    assert torch.equal(logits(load(tmp_path), IDS), wanted)
    save_file(weights | {"lm_head.weight": weights["model.embed_tokens.weight"] + 1}, file)
    with pytest.raises(BadInput, match="head is not its embedding"):
        load(tmp_path)


def test_the_cache_of_the_hub_is_read_through_its_links(folder, tmp_path):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "1234", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(folder.iterdir()):
        shutil.copyfile(file, blobs / str(number))
        (snapshot / file.name).symlink_to(Path("../../blobs") / str(number))
    assert torch.equal(logits(load(snapshot), IDS), logits(load(folder), IDS))


UNSUPPORTED = {
    "qwen2": {"model_type": "qwen2"},
    "qwen3_moe": {"model_type": "qwen3_moe"},
    "attention_bias": {"attention_bias": True},
    "sliding": {"use_sliding_window": True},
    "sliding windows": {"layer_types": ["full_attention", "sliding_attention"]},
    "quantised": {"quantization_config": {"quant_method": "gptq"}},
    "gelu": {"hidden_act": "gelu"},
    "rms_norm_eps": {"rms_norm_eps": 1e-5},
    "llama3": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}},
    "dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "beta_fast": {"rope_parameters": {**YARN, "beta_fast": 64}},
    "attention_factor": {"rope_parameters": {**YARN, "attention_factor": 1.5}},
    "between layers": {"rope_parameters": {"full_attention": YARN}},
    "partial_rotary_factor": {"partial_rotary_factor": 0.5},
}


@pytest.mark.parametrize("named", UNSUPPORTED)
def test_a_model_that_our_decoder_is_not_is_refused_by_the_name_of_what_it_lacks(folder, named):
    _config(folder, **UNSUPPORTED[named])
    with pytest.raises(BadInput, match=named):
        load(folder)


SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "max_position_embeddings"),
)


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "64", None, [], 2**40, 10**30], ids=str)
def test_a_size_that_is_absurd_is_refused(folder, key, value):
    _config(folder, **{key: value})
    with pytest.raises(BadInput, match=f"{key}` is"):
        load(folder)


@pytest.mark.parametrize("value", [0, -1, "1", None, [], 1e300, "Infinity"], ids=str)
@pytest.mark.parametrize("key", ["factor", "rope_theta", "original_max_position_embeddings"])
def test_a_position_that_is_absurd_is_refused(folder, key, value):
    rope = json.dumps({**YARN, key: value}).replace('"Infinity"', "Infinity")
    text = (folder / "config.json").read_text()
    told = json.loads(text)
    told.pop("rope_parameters")
    (folder / "config.json").write_text(json.dumps(told)[:-1] + f', "rope_parameters": {rope}}}')
    with pytest.raises(BadInput):
        load(folder)


def test_a_model_that_is_too_large_for_the_machine_is_refused_with_its_size(folder):
    _config(folder, hidden_size=1 << 17, intermediate_size=1 << 19, num_hidden_layers=900)
    with pytest.raises(BadInput, match=r"takes [0-9,.]+ GB in float32; this machine has"):
        load(folder)


def test_sizes_that_the_weights_do_not_have_are_refused_before_anything_is_allocated(folder):
    _config(folder, hidden_size=1024, intermediate_size=4096, num_hidden_layers=60)
    with pytest.raises(BadInput, match="lack"):
        load(folder)
    _config(folder, hidden_size=1024, num_hidden_layers=2, intermediate_size=96)
    with pytest.raises(BadInput, match=r"of shape .* config\.json says"):
        load(folder)


def _first(folder):
    return sorted(folder.glob("*.safetensors"))[0]


def _edit(change):
    def edit(folder):
        weights = load_file(_first(folder))
        change(weights)
        save_file(weights, _first(folder))

    return edit


def _index(change):
    def edit(folder):
        file = folder / "model.safetensors.index.json"
        told = json.loads(file.read_text())
        change(told, told["weight_map"])
        file.write_text(json.dumps(told))

    return edit


def _move(target):
    """Put the first file elsewhere, and have the index name it there."""

    def edit(folder):
        file = _first(folder)
        place = folder.parent / "elsewhere.safetensors"
        shutil.move(file, place)
        name = {"up": "../elsewhere.safetensors", "absolute": str(place)}.get(target, file.name)
        if target == "link":
            file.symlink_to(place)
        _index(lambda _, named: named.update({key: name for key, old in named.items() if old == file.name}))(folder)

    return edit


def _instead(name, write):
    def edit(folder):
        (folder / name).unlink(missing_ok=True)
        write(folder / name)

    return edit


def _pickled(folder):
    for file in (*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"):
        file.unlink()
    torch.save(theirs().state_dict(), folder / "pytorch_model.bin")


def _cut(folder):
    raw = _first(folder).read_bytes()
    _first(folder).write_bytes(raw[: len(raw) // 2])


def _bomb(folder):
    _first(folder).write_bytes((2**62).to_bytes(8, "little") + b"{}")


def _sparse(folder):
    """A terabyte of zeros that takes no room, whose header has the sizes of the configuration."""
    _config(folder, hidden_size=1 << 16, intermediate_size=1 << 18, num_hidden_layers=4, tie_word_embeddings=True)
    os.truncate(_first(folder), 1 << 40)


NORM = "model.layers.0.input_layernorm.weight"
CONFIG, INDEX = "config.json", "model.safetensors.index.json"
NAN = torch.tensor(float("nan"))

HOSTILE = {
    "a configuration of a gigabyte": (lambda folder: os.truncate(folder / CONFIG, 1 << 30), "are the most"),
    "a nested configuration": (_instead(CONFIG, lambda path: path.write_text("[" * 100_000)), "not JSON"),
    "a configuration that is a list": (_instead(CONFIG, lambda path: path.write_text("[]")), "no table"),
    "a configuration that is a pipe": (_instead(CONFIG, os.mkfifo), "no regular file"),
    "a configuration from elsewhere": (_instead(CONFIG, lambda path: path.symlink_to("/etc/passwd")), "leads out"),
    "no configuration": (lambda folder: (folder / CONFIG).unlink(), "No such file"),
    "a header bomb": (_bomb, "are the most"),
    "a sparse file": (_sparse, "GB in float32"),
    "truncated": (_cut, "truncated"),
    "empty": (lambda folder: _first(folder).write_bytes(b""), "no header"),
    "a file that is absent": (lambda folder: _first(folder).unlink(), "No such file"),
    "weights that are a pipe": (lambda folder: _instead(_first(folder).name, os.mkfifo)(folder), "no regular file"),
    "a tensor is missing": (_edit(lambda weights: weights.pop(NORM)), "is not in"),
    "a tensor is missing everywhere": (
        lambda folder: (
            _edit(lambda weights: weights.pop(NORM))(folder),
            _index(lambda _, named: named.pop(NORM))(folder),
        ),
        "lack",
    ),
    "a tensor too many": (_edit(lambda weights: weights.update(more=torch.zeros(3))), "says nothing of 'more'"),
    "a tensor too many in the index": (
        lambda folder: (
            _edit(lambda weights: weights.update(more=torch.zeros(3)))(folder),
            _index(lambda _, named: named.update(more=_first(folder).name))(folder),
        ),
        "hold the unknown 'more'",
    ),
    "another shape": (_edit(lambda weights: weights.update({NORM: torch.zeros(63)})), "of shape"),
    "another number of dimensions": (_edit(lambda weights: weights.update({NORM: torch.zeros(64, 1)})), "of shape"),
    "whole numbers": (_edit(lambda weights: weights.update({NORM: torch.zeros(64, dtype=torch.int8)})), "of type I8"),
    "no number": (_edit(lambda weights: weights.update({NORM: weights[NORM] * NAN})), "no number"),
    "infinite": (_edit(lambda weights: weights[NORM].__setitem__(5, float("inf"))), "no number"),
    "an index that leads up": (_move("up"), "no name of a file"),
    "an index that leads to the root": (_move("absolute"), "no name of a file"),
    "a link that leads out": (_move("link"), "leads out"),
    "an index of numbers": (_index(lambda told, _: told.update(weight_map={"a": 1})), "weight_map"),
    "an index without a map": (_index(lambda told, _: told.pop("weight_map")), "weight_map"),
    "an index of many files": (
        _index(lambda told, _: told.update(weight_map={str(n): f"{n}.safetensors" for n in range(2_000)})),
        "are the most",
    ),
    "an index that names another kind of file": (
        _index(lambda _, named: named.update({NORM: "config.json"})),
        "no name of a file",
    ),
    "an index that is none": (_instead(INDEX, lambda path: path.write_text("{")), "not JSON"),
    "pickles": (_pickled, "pickled weights are not read, .* convert them to safetensors"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_folder_ends_in_one_line(folder, what):
    edit, said = HOSTILE[what]
    edit(folder)
    with pytest.raises(BadInput, match=said) as refused:
        load(folder)
    assert "\n" not in str(refused.value)


def test_a_folder_without_weights_or_that_is_none_is_refused(folder):
    for file in (*folder.glob("*.safetensors"), folder / INDEX):
        file.unlink()
    with pytest.raises(BadInput, match="no weights here"):
        load(folder)
    with pytest.raises(BadInput, match="no such folder"):
        load(folder / "absent")


@pytest.fixture
def words(folder):
    return tokenizer(folder)


def test_a_model_fits_its_own_tokenizer_though_it_has_more_rows(folder, words, tmp_path):
    fits(folder, tokenizer(tmp_path / "words") / "tokenizer.json")
    assert shape_of(folder).vocabulary == 300 > len(vocabulary(folder / "tokenizer.json")) == 260


def test_another_tokenizer_does_not_fit(folder, words, tmp_path):
    other = tokenizer(tmp_path / "words", first=False)
    with pytest.raises(BadInput, match=r"made with another tokenizer .* has the id .* set \[tokenizer\] path"):
        fits(folder, other / "tokenizer.json")
    more = tokenizer(tmp_path / "more", special=(*SPECIAL, "<|more|>"))
    with pytest.raises(BadInput, match="made with another tokenizer"):
        fits(folder, more / "tokenizer.json")


def test_a_model_with_too_few_rows_does_not_fit(words, folder):
    _config(folder, vocab_size=200)
    with pytest.raises(BadInput, match="200 ids cannot read 260"):
        fits(folder, folder / "tokenizer.json")


VOCABULARIES = (
    *("", "[]", "{}", '{"model": {"vocab": []}}', '{"model": {"vocab": {}}}', '{"model": {"vocab": {"a": "b"}}}'),
    *('{"model": {"vocab": {"a": -1}}}', '{"model": {"vocab": {"a": 1}}, "added_tokens": [3]}'),
)


@pytest.mark.parametrize("text", VOCABULARIES)
def test_what_is_no_tokenizer_is_refused(folder, words, text, tmp_path):
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(BadInput):
        fits(folder, tokenizer(tmp_path / "words") / "tokenizer.json")


def test_a_folder_of_theirs_that_was_trained_on_is_written_and_read_by_both(folder, words, tmp_path):
    decoder = load(folder)
    with torch.no_grad():
        decoder.model.norm.weight.mul_(1.5)
    export(decoder, tmp_path / "out", folder, end=0, dtype=torch.bfloat16, shard_bytes=50_000)
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    torch.testing.assert_close(logits(load(tmp_path / "out"), IDS), logits(back, IDS), atol=1e-4, rtol=0)
    assert load(tmp_path / "out").shape.vocabulary == SHAPE.vocabulary


CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def test_evaluation_and_server_take_what_was_trained_on(tmp_path):
    """Tied, in bfloat16, in several files, with control tokens behind all others."""
    theirs(tie_word_embeddings=True).to(torch.bfloat16).save_pretrained(tmp_path / "theirs")
    tokenizer(tmp_path / "theirs", first=False, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHAT)
    decoder, end = load(tmp_path / "theirs"), vocabulary(tmp_path / "theirs" / "tokenizer.json")["<|im_end|>"]
    export(decoder, tmp_path / "ours", tmp_path / "theirs", end=end, dtype=torch.bfloat16, shard_bytes=20_000)
    assert len(list((tmp_path / "ours").glob("model-*.safetensors"))) > 2
    scored = [evaluation.Model(tmp_path / name).score(["Il-bnedmin kollha"])[0].bits for name in ("theirs", "ours")]
    assert scored[0] == pytest.approx(scored[1], rel=1e-5)
    assert evaluation.Model(tmp_path / "ours").start == 256
    served, said = serve.load(tmp_path / "ours"), []
    prompt = served.prompt([{"role": "user", "content": "Kif int?"}])
    ended = served.answer(prompt, serve.Sampling(8, temperature=0.0), said.append, lambda: False)
    assert ended.reason in ("stop", "length") and 0 < ended.tokens <= 8


def test_the_recipe_that_goes_on_names_a_model_its_tokenizer_and_what_is_replayed():
    recipe = load_recipe(Path(__file__).resolve().parents[2] / "recipes" / "continue.toml")
    assert recipe.tokenizer.path == recipe.model.start / "tokenizer.json"
    assert recipe.mixture.shares == {"mt": 0.4}


@pytest.fixture(scope="module")
def gone_on(tiny, tmp_path_factory):
    """The tiny run, gone on for one language from its own base model, with its own tokenizer."""
    place = tiny.copy(tmp_path_factory.mktemp("on"))
    base = tiny.run.folder("model") / "base"
    words = (f"model.start={base}", f"tokenizer.path={base}", "mixture.shares.mt=0.5", "model.muon_rate=0.002")
    run(tiny.change(*words, "model.compute=3e10", "mixture.largest_fall=9"), place, tiny.engine, until="model")
    return place


def _lines(run_folder):
    return [json.loads(line) for line in (run_folder.folder("model") / "metrics.jsonl").read_text().splitlines()]


def test_a_model_that_goes_on_begins_where_the_other_ended(tiny, gone_on):
    before = [line["held_out"] for line in _lines(tiny.run) if "held_out" in line]
    after = [line["held_out"] for line in _lines(gone_on) if "held_out" in line]
    assert after[0].keys() == before[0].keys() == set(tiny.recipe.languages)
    for tag in after[0]:
        assert after[0][tag] < before[0][tag]
    assert after[-1]["mt"] < after[0]["mt"]


def test_the_same_tokenizer_gives_the_same_ids(tiny, gone_on):
    for tag in tiny.recipe.languages:
        for file in sorted((tiny.run.folder("tokenizer") / "tokens" / tag).glob("*.npy")):
            assert file.read_bytes() == (gone_on.folder("tokenizer") / "tokens" / tag / file.name).read_bytes()


def test_a_model_with_another_tokenizer_than_the_run_is_refused(tiny, tmp_path):
    theirs().save_pretrained(tmp_path / "theirs")
    tokenizer(tmp_path / "theirs")
    recipe = tiny.change(f"model.start={tmp_path / 'theirs'}")
    with pytest.raises(BadInput, match="made with another tokenizer"):
        run(recipe, tiny.copy(tmp_path), tiny.engine, until="model")


def test_a_model_and_a_tokenizer_of_others_go_through_every_stage(tiny, tmp_path):
    """Control tokens stand behind all others, and documents are closed by another id than ours."""
    model = theirs(tie_word_embeddings=True, max_position_embeddings=1024)
    model.to(torch.bfloat16).save_pretrained(tmp_path / "theirs", max_shard_size="40KB")
    home = tokenizer(tmp_path / "theirs", first=False, pad_token="<|endoftext|>")
    words = (f"model.start={home}", f"tokenizer.path={home}", "tuning.epochs=1", "mixture.largest_fall=9")
    size = ("model.compute=3e10", "model.context=1024", "model.batch_tokens=2048", "tuning.batch_tokens=2048")
    place = tiny.copy(tmp_path)
    run(tiny.change(*words, *size), place, tiny.engine, until="evaluation")
    base, tuned = (GenerationConfig.from_pretrained(place.folder("model") / name) for name in ("base", "tuned"))
    assert (base.eos_token_id, base.pad_token_id, tuned.eos_token_id) == (256, 256, 258)
    assert load(place.folder("tuning")).shape.tied
    lines = [line["held_out"] for line in _lines(place) if "held_out" in line]
    assert all(lines[-1][tag] < lines[0][tag] for tag in tiny.recipe.languages)
    scores = json.loads((place.folder("evaluation") / "results.json").read_text())["models"][0]["measures"]
    measured = scores["bits_per_byte"]["mt"]["value"]
    assert measured == pytest.approx(lines[-1]["mt"], rel=0.3)
