"""A training on the terminal."""

import pytest
from fake_run import TAGS

from openeurollm.board import facts, terminal
from openeurollm.board.training import Training, training
from openeurollm.ledger import RunFolder
from openeurollm.ledger.metrics import Event, HeldOut, Metrics, Step


@pytest.fixture
def found(run: RunFolder) -> Training:
    return facts(run).training["base"]


def test_the_latest_figures_are_named(found: Training) -> None:
    told = dict(terminal.figures(found))
    assert told["step"] == "300"
    assert told["loss"] == "4.006 nats a token"
    assert told["held-out text"] == "1.974 bits per byte, mean over languages; 4.463 at first"
    assert told["skipped"] == "2"
    assert told["last event"] == "step 211, rolled back: three steps skipped in a row"
    assert "share of peak" not in told
    assert terminal.line(found) == "step 300, 4.006 nats a token, 1.335 bits a byte, 10,000 tokens/s, held-out 1.974"


def test_the_curve_falls_from_left_to_right(found: Training) -> None:
    title, *lines, ends = terminal.curve(found, width=30, height=6)
    assert title == "bits per byte of the text it trains on"
    assert ends.replace("\N{NO-BREAK SPACE}", " ").split(maxsplit=1) == ["0", "1.23 million tokens"]
    assert [len(line) for line in lines] == [37] * 6
    drawn = [[place for place, letter in enumerate(line[7:]) if letter != chr(0x2800)] for line in lines]
    assert min(drawn[0]) < 3
    assert max(drawn[-1]) == 29
    assert [min(places) for places in drawn] == sorted(min(places) for places in drawn)


def test_every_language_has_a_cell(found: Training) -> None:
    cells = terminal.languages(found, TAGS)
    assert [cell.split()[0] for cell in cells] == list(TAGS)
    assert "mt       1.34" in cells
    assert "cnr         –" in cells


def test_where_there_is_nothing_nothing_is_drawn() -> None:
    nothing = training(Metrics())
    assert terminal.figures(nothing) == terminal.curve(nothing) == terminal.languages(nothing, TAGS) == []
    assert terminal.line(nothing) == ""
    ran_away = training(Metrics([Step(step=1, tokens=5, loss=None)], [HeldOut(step=1, tokens=5, held_out={})]))
    assert dict(terminal.figures(ran_away)) == {"step": "1", "tokens": "5"}
    assert terminal.curve(ran_away) == []
    assert terminal.line(ran_away) == "step 1"


def test_a_reason_cannot_steer_the_terminal() -> None:
    event = Event(step=1, event="skipped", reason="\x1b[2Jgone\u202e")
    told = dict(terminal.figures(training(Metrics([], [], [event]))))
    assert told["last event"] == "step 1, skipped: �[2Jgone�"
