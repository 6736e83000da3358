"""`openeurollm metrics`: on the terminal, followed as it is written, and in TensorBoard and trackio."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fake_run import SERVED, metrics
from typer.testing import CliRunner

import openeurollm.cli.metrics
import openeurollm.cli.run  # noqa: F401 - registers the command
from openeurollm.board import facts, replay
from openeurollm.cli.frame import app
from openeurollm.errors import BadInput
from openeurollm.ledger import RunFolder
from openeurollm.ledger.metrics import Metrics, Step, read_metrics
from openeurollm.recipe import tags

needs_tensorboard = pytest.mark.skipif(not find_spec("tensorboard"), reason="the package tensorboard is not installed")


def said(*arguments: Any) -> str:
    done = CliRunner().invoke(app, ["metrics", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout.replace("\N{NO-BREAK SPACE}", " ")


def test_figures_a_curve_and_every_language_are_printed(run: RunFolder) -> None:
    text = said(run.path)
    assert f"{run.path}: training of the model, over" in text
    assert "4.006 nats a token" in text
    assert "1.23 million tokens" in text
    assert all(f"{tag} " in text for tag in SERVED)
    assert "training of the tuning, over" in said(run.path, "--stage", "tuning")


def test_the_json_holds_the_curves(run: RunFolder) -> None:
    (run.folder("model") / "record.json").unlink()
    found = json.loads(said(run.path, "--json"))
    assert (found["stage"], found["over"]) == ("model", False)
    assert len(found["training"]["steps"]) == 300
    assert len(found["training"]["held_out"]) == 8


def test_what_cannot_be_done_is_said_in_a_line(run: RunFolder, tmp_path: Path, fake: Callable[..., RunFolder]) -> None:
    for arguments, words in (
        ([tmp_path], "no run here"),
        ([fake("corpus", "half").path], "no metrics.jsonl of the model; `openeurollm run` trains it"),
        ([run.path, "--out", tmp_path], "--out is for --to"),
        ([run.path, "--to", "tensorboard", "--out", run.path / "recipe.toml"], "is a file"),
    ):
        with pytest.raises(BadInput, match=words):
            CliRunner().invoke(app, ["metrics", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize("name", ["tensorboard", "trackio"])
def test_a_package_that_is_missing_is_named(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("TRACKIO_DIR", "")
    with pytest.raises(BadInput, match=rf"pip install 'openeurollm\[{name}\]'"):
        arguments = ["metrics", str(run.path), "--to", name, "--out", str(tmp_path / "out")]
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@needs_tensorboard
def test_tensorboard_reads_what_was_written(run: RunFolder, tmp_path: Path) -> None:
    for _ in range(2):  # again is anew
        assert f"tensorboard --logdir {tmp_path}" in said(run.path, "--to", "tensorboard", "--out", tmp_path)
    folder = tmp_path / "fake" / "model"
    assert len(list(folder.iterdir())) == 1
    found = scalars(folder)
    whole = read_metrics(run.folder("model") / "metrics.jsonl")
    assert [step for step, _ in found["training/loss"]] == [step.step for step in whole.steps]
    assert found["training/loss"][-1][1] == pytest.approx(whole.steps[-1].loss)
    assert [step for step, _ in found["held_out/mt"]] == [step for step, _ in found["held_out/mean"]]
    assert found["held_out/el"] == [(each.step, pytest.approx(each.held_out["el"])) for each in whole.held_out]
    assert [step for step, _ in found["events/skipped"]] == [40, 120]
    assert "speed/peak_share" not in found


@needs_tensorboard
def test_tensorboard_keeps_times_and_reasons(run: RunFolder, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told = json.loads(said(run.path, "--to", "tensorboard", "--out", tmp_path, "--json"))
    assert told["to"] == "tensorboard"
    found = EventAccumulator(str(tmp_path / "fake" / "model"), size_guidance={"tensors": 0}).Reload()
    times = [event.wall_time for event in found.Scalars("training/loss")]
    assert times[-1] - times[0] == pytest.approx(0.4 * 299, abs=0.1)
    assert times[-1] == pytest.approx((run.folder("model") / "metrics.jsonl").stat().st_mtime, abs=0.1)
    notes = [event.tensor_proto.string_val[0].decode() for event in found.Tensors("events")]
    assert notes[0] == "step 40: skipped: the loss was no number"
    assert notes[2] == "step 211: rolled back: three steps skipped in a row"


def some_steps(*losses: float, first: int = 1) -> list[Step]:
    return [Step(step=first + n, tokens=n, loss=loss, seconds=n) for n, loss in enumerate(losses)]


@needs_tensorboard
def test_a_training_that_went_back_is_begun_anew(tmp_path: Path) -> None:
    first = some_steps(5.0, 4.0, 9.0)
    again = [*first[:2], *some_steps(3.0, 2.0, first=3)]
    replay.replay(iter([Metrics(first[:1]), Metrics(first), Metrics(again)]), replay.TensorBoard(tmp_path), 1e9)
    assert scalars(tmp_path)["training/loss"] == [(1, 5.0), (2, 4.0), (3, 3.0), (4, 2.0)]
    assert len(list(tmp_path.iterdir())) == 1


@needs_tensorboard
def test_clocks_and_numbers_of_strangers_do_no_harm(tmp_path: Path) -> None:
    odd = Step(step=10**18, tokens=10**18, loss=1e30, seconds=1e30)
    (tmp_path / "events.out.tfevents.0.another").write_bytes(b"kept")
    replay.replay(iter([Metrics([odd])]), replay.TensorBoard(tmp_path / "x"), time.time())
    assert scalars(tmp_path / "x")["training/loss"] == [(10**18, pytest.approx(1e30))]
    assert (tmp_path / "events.out.tfevents.0.another").is_file()


def test_what_is_new_follows_from_what_was_seen() -> None:
    steps = some_steps(5.0, 4.0, 3.0)
    assert replay.grown(Metrics(steps[:2]), Metrics(steps)) == Metrics(steps[2:])
    assert replay.grown(Metrics(steps), Metrics(steps)) == Metrics()
    assert replay.grown(Metrics(steps), Metrics(steps[:2])) is None
    assert replay.grown(Metrics(steps), Metrics(some_steps(5.0, 4.5, 3.0, 2.0))) is None


def follow(run: RunFolder, *options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from openeurollm.cli import main; main()", "metrics", run.path, "--follow"]
    return subprocess.Popen([*map(str, command), *map(str, options)], stdout=subprocess.PIPE, text=True)


def test_a_training_under_way_is_followed_to_its_end(run: RunFolder) -> None:
    record, file = run.folder("model") / "record.json", run.folder("model") / "metrics.jsonl"
    whole = record.read_bytes()
    record.unlink()
    file.unlink()
    lines = [json.dumps(line) + "\n" for line in metrics("model") if "loss" in line]
    shown = follow(run)
    try:
        assert shown.stdout is not None
        file.write_text("".join(lines[:10]) + lines[10][:20], "utf-8")
        assert shown.stdout.readline().startswith("step 10, ")
        file.write_text("".join(lines[:20]), "utf-8")
        assert shown.stdout.readline().startswith("step 20, ")
        file.write_text("".join(lines), "utf-8")
        record.write_bytes(whole)
        assert shown.communicate(timeout=60)[0].splitlines()[-1].startswith("step 300, ")
        assert shown.returncode == 0
    finally:
        shown.kill()
        shown.wait()


@needs_tensorboard
def test_tensorboard_is_fed_as_the_training_goes_on(run: RunFolder, tmp_path: Path) -> None:
    record, file = run.folder("model") / "record.json", run.folder("model") / "metrics.jsonl"
    whole, text = record.read_bytes(), file.read_text("utf-8")
    record.unlink()
    file.write_text("".join(text.splitlines(keepends=True)[:50]), "utf-8")
    shown = follow(run, "--to", "tensorboard", "--out", tmp_path)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and not list(tmp_path.rglob("events.out.tfevents.*")):
            time.sleep(0.1)
        file.write_text(text, "utf-8")
        record.write_bytes(whole)
        shown.communicate(timeout=60)
        assert shown.returncode == 0
    finally:
        shown.kill()
        shown.wait()
    assert len(scalars(tmp_path / "fake" / "model")["training/loss"]) == 300


@pytest.mark.skipif(not find_spec("trackio"), reason="trackio is not installed: pip install 'openeurollm[trackio]'")
def test_trackio_holds_the_training_and_reaches_nothing(run: RunFolder, tmp_path: Path) -> None:
    alone = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('reaches out')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
        "from openeurollm.cli import main\n"
        "main()\n"
    )
    show = (
        "import json\n"
        "from trackio.sqlite_storage import SQLiteStorage as storage\n"
        "print(json.dumps(storage.get_logs('openeurollm', 'fake/model')))\n"
    )
    command = ["metrics", run.path, "--to", "trackio", "--out", tmp_path]
    for _ in range(2):  # again is anew
        done = subprocess.run([sys.executable, "-c", alone, *map(str, command)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    kept = {**os.environ, "TRACKIO_DIR": str(tmp_path)}
    logs = json.loads(subprocess.run([sys.executable, "-c", show], env=kept, capture_output=True, text=True).stdout)
    losses = [(log["step"], log["training/loss"]) for log in logs if "training/loss" in log]
    whole = read_metrics(run.folder("model") / "metrics.jsonl")
    assert losses == [(step.step, pytest.approx(step.loss)) for step in whole.steps]
    assert sum("held_out/mt" in log for log in logs) == 8


def test_the_status_says_how_far_a_training_is(run: RunFolder) -> None:
    def status() -> str:
        return CliRunner().invoke(app, ["status", str(run.path)], catch_exceptions=False).stdout

    assert "metrics" not in status()
    (run.folder("model") / "record.json").unlink()
    run.work("model").mkdir(parents=True)
    (run.work("model") / "key").write_text("0", "utf-8")
    words = "model: step 300, 4.006 nats a token, 1.335 bits a byte, 10,000 tokens/s, held-out 1.974"
    assert f"{words}; openeurollm metrics {run.path} --stage model shows more" in status()
    (run.folder("model") / "metrics.jsonl").unlink()
    assert "metrics" not in status()


def test_the_trainer_writes_what_the_board_reads(tiny: Any) -> None:
    found = facts(tiny.run)
    for model in ("base", "tuned"):
        last = found.training[model].steps[-1]
        assert last["bits_per_byte"] > 0
        assert last["tokens"] > 0
        assert last["tokens_per_s"] > 0
    assert [row.tag for row in found.learnt["base"]] == list(tags(tiny.recipe))
    for row in found.learnt["base"]:
        assert row.last.why or 0 < (row.last.value or 0.0) < (row.first.value or 0.0)
    assert any(row.last.value for row in found.learnt["base"])
    results = tiny.run.record("model").results["held_out"]
    assert {row.tag: row.last.value for row in found.learnt["base"] if row.last.value} == results["last"]
