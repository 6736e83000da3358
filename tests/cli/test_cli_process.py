"""The real command in a process of its own: exit codes, errors of one line, and a start that costs nothing."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).parent / "openeurollm"
HEAVY = ("torch", "transformers", "pyarrow", "numpy", "starlette", "trafilatura", "tokenizers")


def _run(*arguments, **settings):
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=120, **settings)


def _check_one_line(done, code, message):
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert done.stdout == ""


def test_help_lists_the_commands_and_starts_in_no_time():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = _run("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    for name in ("run", "status", "languages", "identify", "corpus", "tokenizer", "evaluate", "trace", "plan"):
        assert f" {name} " in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["languages", "--contract", "eu24"]], ids=" ".join
)
def test_help_and_small_commands_import_nothing_heavy(arguments):
    code = (
        "import sys\nfrom openeurollm.cli import main\n"
        f"sys.argv = ['openeurollm', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("HEAVY []\n")


def test_no_arguments_show_the_help():
    assert "Usage" in _run().stdout


def test_a_run_that_is_whole_ends_with_nought(tiny):
    done = _run("run", tiny.file, "--runs", tiny.run.path.parent, "--until", "evaluation", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "everything is built already, nothing to do" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "absent.toml"], "absent.toml: no such recipe"),
        (["run", "{file}", "--until", "modle"], "unknown stage `modle`"),
        (["run", "{file}", "--set", "tokenizer.vocabulry=9"], "did you mean `vocabulary`?"),
        (["run", "{file}", "--runs", "{home}", "--set", "sources.web.path=absent.warc"], "absent.warc does not exist"),
        (["status", "absent"], "no run here"),
        (["corpus", "inspect", "absent"], "no run here"),
        (["tokenizer", "compare", "absent", "--parallel", "{home}/parallel"], "no tokenizer.json here"),
        (["evaluate", "absent", "--parallel", "{home}/parallel"], "no model here"),
        (["languages", "--contract", "mars"], "unknown language contract `mars`"),
        (["identify", "absent"], "no such file"),
        (["trace", "absent", "words"], "no training documents here"),
        (["plan", "{file}", "--flop-per-s", "-1"], "above zero"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_bad_input_is_one_line_and_exit_code_2(tiny, tmp_path, arguments, message):
    filled = [argument.format(file=tiny.file, home=tiny.home) for argument in arguments]
    _check_one_line(_run(*filled, cwd=tmp_path), 2, message)


@pytest.mark.parametrize("arguments", [["rum"], ["run"], ["run", "x.toml", "--workers", "0"], ["languages", "--jsn"]])
def test_a_command_that_is_none_ends_with_2_and_no_traceback(arguments):
    done = _run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_failure_is_one_line_and_exit_code_1(tiny, tmp_path):
    with tiny.run.locked():
        done = _run("run", tiny.file, "--runs", tiny.run.path.parent, cwd=tmp_path)
    _check_one_line(done, 1, "another run (process ")


def test_debug_shows_where_it_happened():
    done = _run("--debug", "status", "absent")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "BadInput" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_one_line(tiny, tmp_path):
    (tmp_path / "runs").mkdir(mode=0o500)
    _check_one_line(_run("run", tiny.file, "--runs", tmp_path / "runs"), 1, "not allowed to write or read here")


def test_a_folder_that_is_a_file_is_one_line(tiny, tmp_path):
    (tmp_path / "runs").write_text("a file")
    done = _run("run", tiny.file, "--runs", tmp_path / "runs")
    assert done.returncode in (1, 2)
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line(tiny):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [COMMAND, "status", tiny.run.path, "--json"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
