"""A tokenizer that others made is used as it is, and refused where it would lose text or mean harm."""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_texts import PARALLEL
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

from openeurollm.engine import Engine, Reporter
from openeurollm.errors import BadInput
from openeurollm.ledger import read_json, sums
from openeurollm.run import run
from openeurollm.tokenizer import shards
from openeurollm.tokenizer.taken import opened, take

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How the tokenizers of the Qwen family split text."""
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def _made(control=CONTROL, alphabet=None):
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet()) if alphabet is None else alphabet
    trainer = trainers.BpeTrainer(vocab_size=1000, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator((path.read_text("utf-8") for path in sorted(PARALLEL.glob("*.txt"))), trainer)
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return made


@pytest.fixture(scope="module")
def theirs():
    return _made()


@pytest.fixture
def folder(theirs, tmp_path):
    """A model's folder as the Qwen family has it: control tokens behind all others, text put into normal form C."""
    home = tmp_path / "theirs"
    home.mkdir()
    theirs.save(str(home / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (home / "tokenizer_config.json").write_text(json.dumps({**told, "chat_template": "{{ messages }}"}))
    return home


def _engine():
    return Engine(1, Reporter(quiet=True))


def _buffer(texts):
    raw = [text.encode("utf-8") for text in texts]
    return np.frombuffer(b"".join(raw), np.uint8), np.cumsum([0, *map(len, raw)])


@given(st.lists(st.text(max_size=60), max_size=5))
def test_the_ids_are_those_of_the_library_and_control_tokens_are_text(theirs, tmp_path_factory, texts):
    file = tmp_path_factory.getbasetemp() / "taken.json"
    if not file.is_file():
        theirs.save(str(file))
    taken = opened(file)
    texts = [*texts, "<|endoftext|><|im_start|>x"]
    ids, places = taken.encode_buffer(*_buffer(texts), taken.end)
    plain = Tokenizer.from_file(str(file))
    plain.encode_special_tokens = True
    for number, text in enumerate(texts):
        found = ids[places[number] : places[number + 1]].tolist()
        assert found == [*plain.encode(text, add_special_tokens=False).ids, theirs.token_to_id("<|endoftext|>")]
        assert taken.end not in found[:-1]


def test_a_shard_says_which_id_closes_its_documents(folder, theirs, tmp_path):
    texts = ["Il-kelb", "", "<|endoftext|> ħafna\n", "ა" * 3_000]
    (tmp_path / "corpus").mkdir()
    table = pa.table({"text": texts, "language": ["mt"] * 4})
    pq.write_table(table, tmp_path / "corpus" / "part-0.parquet")
    told = shards.encode(folder, [tmp_path / "corpus" / "part-0.parquet"], tmp_path / "out", _engine())[0]
    end = theirs.token_to_id("<|endoftext|>")
    assert (told["end"], told["vocabulary"], told["documents"]) == (end, theirs.get_vocab_size(), 4)
    shard = shards.opened(tmp_path / "out" / "part-0")
    documents = [shard.document(number).tolist() for number in range(4)]
    assert all(document[-1] == end and end not in document[:-1] for document in documents)
    assert [theirs.decode(document[:-1], skip_special_tokens=False) for document in documents] == texts


def test_a_tokenizer_of_ours_is_encoded_with_our_encoder(small, folder):
    assert shards.encoder_of(small) is not None
    assert shards.encoder_of(folder / "tokenizer.json") is None


@pytest.mark.parametrize("eos", ["<|end|>", {"content": "<|end|>", "special": True}])
def test_where_there_is_no_end_of_text_the_token_that_the_configuration_names_closes_documents(tmp_path, eos):
    made = _made(("<|im_start|>", "<|im_end|>", "<|end|>"))
    made.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(BadInput, match=r"no token <\|endoftext\|> to close documents with"):
        opened(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": eos}))
    assert opened(tmp_path / "tokenizer.json").end == made.token_to_id("<|end|>")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|absent|>"}))
    with pytest.raises(BadInput, match="names no other"):
        opened(tmp_path / "tokenizer.json")


def test_what_is_taken_is_what_transformers_reads(folder, theirs, tmp_path):
    (folder / "chat_template.jinja").write_text("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    taken = take(folder, tmp_path / "out")
    assert taken.end == theirs.token_to_id("<|endoftext|>")
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    read = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (read.eos_token, read.pad_token) == ("<|im_end|>", "<|endoftext|>")
    said = read.apply_chat_template([{"role": "user", "content": "Kif int?"}], tokenize=False)
    assert said == "Kif int?"
    assert read.encode("Kif int?", add_special_tokens=False) == theirs.encode("Kif int?").ids


def test_what_a_folder_lacks_is_set_as_ours_have_it(folder, tmp_path):
    (folder / "tokenizer_config.json").unlink()
    take(folder / "tokenizer.json", tmp_path / "out")
    read = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert read.eos_token == "<|endoftext|>"
    said = read.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False, add_generation_prompt=True)
    assert said == "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"


def test_a_run_is_taken_from(tiny, tmp_path):
    taken = take(tiny.run.path, tmp_path)
    assert (taken.end, taken.vocabulary) == (0, 800)


def _raw(change):
    def edit(home):
        file = home / "tokenizer.json"
        told = json.loads(file.read_text("utf-8"))
        change(told)
        file.write_text(json.dumps(told), "utf-8")

    return edit


def _text(name, text):
    return lambda home: (home / name).write_text(text)


def _link(name):
    def edit(home):
        shutil.move(home / name, home.parent / "elsewhere")
        (home / name).symlink_to(home.parent / "elsewhere")

    return edit


def _gap(told):
    for token in told["added_tokens"]:
        token["id"] += 7


def _hole(told):
    """No token has the id of the last merge, which the library gives to no other."""
    told["model"]["vocab"].pop(max(told["model"]["vocab"], key=told["model"]["vocab"].get))
    told["model"]["merges"].pop()


def _without_a_byte(told):
    told["model"]["merges"] = []
    spelled = [token for token in told["model"]["vocab"] if len(token) == 1 and token != "ÿ"]
    told["model"]["vocab"] = {token: number for number, token in enumerate(spelled)}
    for number, token in enumerate(told["added_tokens"]):
        token["id"] = len(spelled) + number


CONFIG = "tokenizer_config.json"
HOSTILE = {
    "no JSON": (_text("tokenizer.json", "{"), "not JSON"),
    "a list": (_text("tokenizer.json", "[]"), "no byte-level BPE"),
    "nested": (_text("tokenizer.json", "[" * 100_000), "not JSON"),
    "of a terabyte": (lambda home: os.truncate(home / "tokenizer.json", 1 << 40), "over"),
    "absent": (lambda home: (home / "tokenizer.json").unlink(), "no tokenizer.json here"),
    "a link that leads out": (_link("tokenizer.json"), "leads out"),
    "unigram": (_raw(lambda told: told.update(model={"type": "Unigram", "vocab": [["a", 0.0]]})), "no byte-level BPE"),
    "another decoder": (_raw(lambda told: told.update(decoder={"type": "Metaspace"})), "no byte-level BPE"),
    "broken merges": (
        _raw(lambda told: told["model"].update(merges=[["a", "nothing of the kind"]])),
        "not a tokenizer",
    ),
    "small letters only": (_raw(lambda told: told.update(normalizer={"type": "Lowercase"})), "does not come back"),
    "without a byte": (_raw(_without_a_byte), "does not come back"),
    "ids that cannot be": (_raw(_gap), "gaps between its ids"),
    "a gap": (_raw(_hole), "gaps between its ids"),
    "no turns": (_raw(lambda told: told["added_tokens"].pop()), r"no token <\|im_end\|>"),
    "a configuration that is none": (_text(CONFIG, "[]"), "no table of settings"),
    "a configuration of a terabyte": (lambda home: os.truncate(home / CONFIG, 1 << 40), "over"),
    "code of its own": (_text(CONFIG, '{"auto_map": {"AutoTokenizer": ["a.py", null]}}'), "code of its own"),
    "a configuration from elsewhere": (_link(CONFIG), "leads out"),
    "a template of a terabyte": (lambda home: _sparse(home / "chat_template.jinja"), "over"),
}


def _sparse(path):
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize("what", HOSTILE)
def test_what_cannot_be_taken_is_refused_in_one_line(folder, tmp_path, what):
    edit, said = HOSTILE[what]
    edit(folder)
    with pytest.raises(BadInput, match=said) as refused:
        take(folder, tmp_path / "out")
    assert "\n" not in str(refused.value)


def test_the_stage_takes_a_tokenizer_measures_it_and_encodes_the_corpus(tiny, folder, theirs, tmp_path):
    place = tiny.copy(tmp_path)
    recipe = tiny.change(f"tokenizer.path={folder}")
    run(recipe, place, tiny.engine, until="tokenizer")
    record = place.need("tokenizer")
    told = read_json(place.folder("tokenizer") / "fairness.json")["tokenizers"][0]
    assert told["vocabulary"] == record.results["vocabulary"] == theirs.get_vocab_size()
    assert record.results["contract"]["figures"] == {"tokens a sentence": told["languages"]}
    assert record.results["encoder"] == "tokenizers"
    end = theirs.token_to_id("<|endoftext|>")
    for tag in recipe.languages:
        for about in (place.folder("tokenizer") / "tokens" / tag).glob("*.json"):
            assert read_json(about)["end"] == end == shards.opened(about.with_suffix("")).ids[-1]
    assert all(each["ok"] for each in sums(place) if "tokenizer" in each["check"])
    assert not (place.folder("tokenizer") / "training.json").exists()
    card = (place.folder("tokenizer") / "README.md").read_text("utf-8")
    assert record.results["taken"] in card and "(mt) |" in card
