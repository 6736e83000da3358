"""What the identifier's card says of each language."""

from pathlib import Path

from openeurollm.languages import identifier_scores, scores
from openeurollm.ledger import write_json


def test_scores_are_read_from_the_card(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(scores.resources, "files", lambda package: tmp_path)
    assert identifier_scores() == {}
    write_json(tmp_path / "identifier" / "card.json", {"scores": {"mt": {"sentence": 0.98, "document": 1.0}}})
    assert identifier_scores() == {"mt": {"sentence": 0.98, "document": 1.0}}
