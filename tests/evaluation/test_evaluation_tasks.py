"""Measuring is shared out between processes, and nothing of what is found depends on how many there are."""

import shutil
from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter

from openeurollm.engine import Engine, Reporter
from openeurollm.errors import BadInput
from openeurollm.evaluation import build
from openeurollm.evaluation.checks import Search
from openeurollm.evaluation.material import Material
from openeurollm.evaluation.tasks import Measuring, gathered, measure, measurings
from openeurollm.ledger import read_json


def _material(tiny, tag="mt"):
    return Material(
        tag,
        tiny.run.folder("corpus") / tag / "held-out.parquet",
        1_000,
        (),
        tiny.home / "parallel" / f"{tag}.txt",
        tiny.run.folder("tuning") / "held-out.jsonl",
    )


def _files(folder):
    return {name: (folder.folder("evaluation") / name).read_bytes() for name in ("results.json", "coverage.json")}


def test_two_processes_find_to_the_byte_what_one_finds(tiny, tmp_path):
    """The run itself was made with one, in this process."""
    folder = tiny.copy(tmp_path)
    for path in folder.folder("evaluation").iterdir():
        path.unlink()
    counts, told = build(tiny.recipe, folder, Engine(2, Reporter(quiet=True)))
    assert _files(folder) == _files(tiny.run)
    assert (counts, told) == (tiny.run.need("evaluation").counts, tiny.run.need("evaluation").results)


def test_what_is_found_does_not_depend_on_the_threads_of_the_process(tiny, tmp_path):
    task = Measuring(tiny.run.folder("tuning"), _material(tiny), 100, 1, tmp_path / "one.json")
    before = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            measure(replace(task, out=tmp_path / f"{number}.json"))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(before)
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_what_was_measured_before_a_crash_is_not_measured_again(tiny, tmp_path):
    (tmp_path / "mt.json").write_text('{"bits_per_byte": {"value": 1.5}}')
    tasks = measurings(tiny.run.folder("tuning"), [_material(tiny), _material(tiny, "ga")], 100, 1, tmp_path)
    for task in tasks:
        measure(task)
    found = gathered(tasks)
    assert found["bits_per_byte"]["mt"] == {"value": 1.5}
    assert set(found["bits_per_byte"]) == {"mt", "ga"}
    assert set(found["bits_per_sentence"]) == set(found["language_consistency"]) == {"ga"}


def test_tasks_travel_as_json(tiny, tmp_path):
    task = Measuring(
        tiny.run.folder("tuning"), replace(_material(tiny), aside=("a", "b")), 100, 1, tmp_path / "mt.json"
    )
    for each in (task, Search(tmp_path / "held-out.parquet", tmp_path / "part-00000.parquet", tmp_path / "out.json")):
        adapter = TypeAdapter(type(each))
        assert adapter.validate_json(adapter.dump_json(each)) == each
    assert str(task) == "tuned in mt"


def test_a_model_that_changed_is_loaded_again(tiny, tmp_path):
    """A process keeps its model between tasks."""
    values = []
    for number, stage in enumerate(("model/base", "model/tuned")):
        shutil.copytree(tiny.run.path / stage, tmp_path / "model", dirs_exist_ok=True)
        (task,) = measurings(tmp_path / "model", [_material(tiny)], 100, 1, tmp_path / str(number))
        measure(task)
        values.append(read_json(task.out)["bits_per_sentence"]["value"])
    assert values[0] != values[1]


def test_a_folder_that_is_no_model_ends_the_work_at_once(tiny, tmp_path):
    tasks = measurings(tmp_path / "absent", [_material(tiny), _material(tiny, "ga")], 100, 1, tmp_path)
    with pytest.raises(BadInput, match="no model here"):
        Engine(2, Reporter(quiet=True)).map("evaluate", measure, tasks)
