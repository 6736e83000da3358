"""What a recipe's dial comes to, before anything is trained."""

import pytest

from openeurollm.errors import BadInput
from openeurollm.ledger import RunFolder
from openeurollm.model.outlook import outlook
from openeurollm.model.pretraining import plan


def test_it_is_what_the_training_will_be(tiny):
    ahead, planned = outlook(tiny.recipe, tiny.run), plan(tiny.recipe, tiny.run)
    assert ahead.text_known
    assert ahead.shape == planned.shape
    assert ahead.batch_tokens == 1024
    assert ahead.tokens == pytest.approx(planned.schedule.total * 64, rel=0.05)
    assert ahead.bits_per_byte.value == pytest.approx(planned.predicted.value, rel=0.1)


def test_before_there_is_a_corpus_there_is_text_enough(tiny, tmp_path):
    ahead = outlook(tiny.recipe, RunFolder(tmp_path / "none"))
    assert not ahead.text_known
    assert ahead.flop == pytest.approx(1e11, rel=0.1)
    assert ahead.asdict()["parameters"] == ahead.shape.parameters


def test_what_the_text_leaves_of_the_budget_is_told(tiny):
    assert outlook(tiny.change("mixture.max_epochs=1"), tiny.run).unspent > 0.3
    assert outlook(tiny.recipe, tiny.run).budget == 1e11


def test_of_a_model_to_go_on_from_the_shape_is_known(tiny, tmp_path):
    base = tiny.run.folder("model") / "base"
    ahead = outlook(tiny.change(f"model.start={base}"), RunFolder(tmp_path / "none"))
    built = tiny.run.need("model").results
    assert ahead.shape.parameters == built["parameters"]


def test_the_vocabulary_is_that_of_the_tokenizer_that_is_taken(tiny, tmp_path):
    folder = tiny.run.folder("tokenizer")
    for given in (folder, folder / "tokenizer.json"):
        ahead = outlook(tiny.change(f"tokenizer.path={given}"), RunFolder(tmp_path / "none"))
        assert ahead.shape.vocabulary == tiny.run.need("tokenizer").results["vocabulary"]
    with pytest.raises(BadInput, match="absent"):
        outlook(tiny.change("tokenizer.path=absent.json"), RunFolder(tmp_path / "none"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.compute=1e3", "does not pay for one batch"),
        ("model.batch_tokens=100000000", "do not fill a batch"),
        ("model.law=absent.json", "no such file"),
    ],
)
def test_what_cannot_be_had_is_refused_before_the_corpus_is_built_anew(tiny, setting, message):
    with pytest.raises(BadInput, match=message):
        outlook(tiny.change(setting), tiny.run)
