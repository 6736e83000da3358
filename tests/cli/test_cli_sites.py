"""`openeurollm sites`: the table, one site, and a check on a real cluster that differs."""

import json

import pytest
from typer.testing import CliRunner

from openeurollm.cli import app
from openeurollm.engine.site import names
from openeurollm.errors import BadInput


def _sites(*arguments, code=0):
    done = CliRunner().invoke(app, ["sites", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.stdout


def test_the_table_has_every_site_and_how_much_of_it_was_read():
    lines = {line.split()[0]: line for line in _sites().splitlines() if line.split()}
    assert set(names()) < set(lines)
    assert lines["lumi-g"].split()[-7:] == ["2-00:00:00", "yes", "17", "of", "22", "8", "56"]
    assert "  no  " in lines["jupiter"]
    told = json.loads(_sites("--json"))
    assert [site["name"] for site in told] == names()
    assert all(fact["source"] for site in told for fact in site["facts"].values())


def test_a_site_is_shown_with_source_and_date_of_each_fact(tmp_path):
    told = json.loads(_sites("show", "lumi-g", "--json"))
    for fact in told["facts"].values():
        line = next(line for line in _sites("show", "lumi-g").splitlines() if fact["source"] in line)
        assert fact["date"] is None or fact["date"] in line
    own = tmp_path / "my.toml"
    own.write_text('extends = "lumi-g"\n[use]\naccount = "project_1"\nsetup = ["module load X", "y"]\n')
    lines = [line.split() for line in _sites("show", own).splitlines()]
    assert ["account", "project_1"] in lines
    assert ["setup", "module", "load", "X;", "y"] in lines


def test_an_unknown_site_is_refused():
    with pytest.raises(BadInput, match=r"did you mean `lumi-[cg]`"):
        CliRunner().invoke(app, ["sites", "show", "lumi"], catch_exceptions=False)


def test_a_check_ends_with_one_where_the_cluster_differs(slurm, tmp_path, monkeypatch):
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    assert "0 of 7 facts differ" in _sites("check", "local-slurm")
    own = tmp_path / "my.toml"
    own.write_text('extends = "local-slurm"\n[facts]\nmax_array = 5000\ncores = 64\n')
    text = _sites("check", own, code=1)
    assert "set `max_array` to at most 1001" in text
    assert "2 of 7 facts differ" in text
    told = json.loads(_sites("check", own, "--json", code=1))
    assert (told["site"], told["differs"]) == ("my", 2)
    assert {finding["fact"]: finding["verdict"] for finding in told["findings"]}["cores"] == "differs"


def test_a_site_without_a_scheduler_has_nothing_to_compare():
    assert "nothing to compare" in _sites("check", "laptop")
