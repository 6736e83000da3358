"""What may befall a run on a cluster: each ends complete and with the laptop's bytes, or says what is missing."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress

import psutil
import pytest

from openeurollm.cli.cluster import noted
from openeurollm.errors import BadInput
from slurm import until
from test_run_cluster import cluster, command, one_core, outputs, own, tiny_until_tokenizer  # noqa: F401


def programs(cluster, *words, node=None):  # noqa: F811
    """Processes of the cluster whose command line has all these words, the oldest first."""
    told = cluster.slurm._processes(node) if node else cluster.slurm._told()
    found = []
    for process in told:
        with suppress(psutil.Error):
            line = process.cmdline()
            if all(any(word in part for part in line) for word in words):
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def logs(folder, name=""):
    return "".join(file.read_text() for file in sorted(folder.path.glob(f".work/logs/{name}*.log")))


def claimed(folder):
    return any(folder.work("corpus").glob("passes/*/claims/*"))


def lead_of(folder):
    """The process that leads the corpus."""
    file = folder.crew("corpus") / "lead"
    words = until(lambda: file.exists() and file.read_text(), 60, "nobody leads")
    return int(words.split("-")[-2])


def none_left(cluster):  # noqa: F811
    """No process of a job outlives it."""
    until(lambda: not programs(cluster, "openeurollm", "work"), 30, "a process of a job is left")
    until(lambda: not programs(cluster, "lease"), 30, "a shell of a job is left")


def test_whatever_is_killed_of_an_element_the_corpus_is_the_laptops(tiny, cluster):  # noqa: F811
    run = cluster.start(tiny.file, "--until", "corpus", "--nodes", "2")
    folder = cluster.folder()
    until(lambda: claimed(folder), 120, "no shard is claimed")
    for shell in programs(cluster, "/bin/sh", "lease"):
        shell.kill()
    worker = until(lambda: programs(cluster, "multiprocessing.spawn"), 60, "there is no worker")[-1]
    worker.kill()
    lead = lead_of(folder)
    time.sleep(1)
    os.kill(lead, signal.SIGKILL)
    _, words = run.communicate(timeout=280)
    assert run.returncode == 0, words
    assert outputs(folder, "corpus") == outputs(tiny.run, "corpus")
    assert "Traceback" not in logs(folder) and "error:" not in logs(folder)
    none_left(cluster)


def test_a_lead_that_is_stopped_is_replaced_and_does_no_harm_when_it_comes_back(tiny, cluster):  # noqa: F811
    run = cluster.start(tiny.file, "--until", "corpus", "--nodes", "2")
    folder = cluster.folder()
    until(lambda: claimed(folder), 120, "no shard is claimed")
    lead = lead_of(folder)
    os.kill(lead, signal.SIGSTOP)
    others = folder.work("corpus") / ".shard.elsewhere-1.part"
    others.touch()
    until(lambda: lead_of(folder) != lead, 60, "nobody takes the lead")
    until(lambda: any(folder.work("corpus").glob("passes/duplicates-*")), 60, "the work does not go on")
    assert others.exists(), "what others are writing is theirs"
    os.kill(lead, signal.SIGCONT)
    _, words = run.communicate(timeout=280)
    assert run.returncode == 0, words
    assert outputs(folder, "corpus") == outputs(tiny.run, "corpus")
    assert "Traceback" not in logs(folder) and "error:" not in logs(folder), logs(folder)
    none_left(cluster)


def test_a_training_of_which_a_process_is_killed_goes_on_in_the_same_job(
    tiny,
    cluster,  # noqa: F811
    tiny_until_tokenizer,  # noqa: F811
    one_core,  # noqa: F811
):
    run = cluster.start(tiny.file, "--until", "model", "--nodes", "2", on=one_core)
    folder = tiny_until_tokenizer
    checkpoints = folder.work("model") / "checkpoints"
    until(lambda: any(checkpoints.glob("step-*")), 200, "there is no checkpoint")
    second = [each for each in programs(cluster, "openeurollm", "work") if each.environ().get("RANK") == "1"]
    second[-1].kill()
    _, words = run.communicate(timeout=280)
    assert run.returncode == 0, words
    assert outputs(folder, "model") == outputs(tiny.run, "model")
    assert "error: another process of the training has ended" in logs(folder, "model")
    assert cluster.slurm.job(cluster.jobs()["model"]).get("Restarts", "0") == "0"
    none_left(cluster)


@pytest.fixture
def small_disk(cluster):  # noqa: F811
    """A file system of its own for the runs, whose size can change."""
    cluster.runs.mkdir()

    def mount(options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", cluster.runs], capture_output=True)

    if mount("size=8m").returncode:
        pytest.skip("this user may not mount a file system")
    yield lambda options: mount(f"remount,{options}")
    until(lambda: not subprocess.run(["umount", cluster.runs], capture_output=True).returncode, 60, "it stays mounted")


def test_a_disk_that_cannot_be_written_is_told_in_a_line_and_nothing_is_submitted(tiny, cluster, small_disk):  # noqa: F811
    for options, words in (("ro", "not allowed to write"), ("rw,size=4k", "the disk is full")):
        small_disk(options)
        if "size" in options:
            with suppress(OSError):
                (cluster.runs / "filler").write_bytes(bytes(100_000))
        done = cluster.run(tiny.file, "--nodes", "2")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert words in done.stderr
        assert not cluster.slurm.call("squeue", "--noheader")


def test_a_disk_that_fills_up_stops_the_corpus_and_the_next_run_finishes_it(tiny, cluster, small_disk):  # noqa: F811
    run = cluster.start(tiny.file, "--until", "corpus", "--nodes", "2")
    folder = cluster.folder()
    until(lambda: claimed(folder), 120, "no shard is claimed")
    with suppress(OSError):
        (cluster.runs / "filler").write_bytes(bytes(9_000_000))
    _, words = run.communicate(timeout=280)
    assert run.returncode == 1
    assert "incomplete, corpus is not built: the disk is full" in words, (words, logs(folder))
    assert "Traceback" not in logs(folder)
    (cluster.runs / "filler").unlink()
    done = cluster.run(tiny.file, "--until", "corpus", "--nodes", "2", "--wait")
    assert done.returncode == 0, done.stderr
    assert outputs(folder, "corpus") == outputs(tiny.run, "corpus")


def test_a_shard_that_always_fails_is_set_aside_and_the_next_run_tries_it_again(tiny, cluster):  # noqa: F811
    folder = cluster.folder()
    run = cluster.start(tiny.file, "--until", "corpus", "--nodes", "1")
    until((folder.work("corpus") / "key").exists, 120, "the corpus does not begin")
    obstacle = folder.folder("corpus") / "mt" / "part-00000.parquet"
    obstacle.mkdir(parents=True)
    _, words = run.communicate(timeout=280)
    assert run.returncode == 1
    assert "incomplete, corpus is not built: write: 1 of 6 shards set aside after 3 attempts each; " in words
    assert "IsADirectoryError" in words and "run again to try these again" in words
    assert "IsADirectoryError" in (folder.work("corpus") / "set-aside" / "write.txt").read_text()
    status = cluster.status()
    assert status["stages"]["corpus"]["state"] == "unfinished"
    (written,) = [each for each in status["jobs"][0]["passes"] if each["title"] == "write"]
    assert (written["number"], written["done"], written["running"], written["aside"]) == (6, 5, 0, 1)
    assert "write: 5 of 6, 1 set aside" in command("status", folder.path, env=cluster.slurm.env).stdout
    obstacle.rmdir()
    done = cluster.run(tiny.file, "--until", "corpus", "--nodes", "4", "--wait")
    assert done.returncode == 0, done.stderr
    assert outputs(folder, "corpus") == outputs(tiny.run, "corpus")
    assert not (folder.path / ".work" / "crews").exists()
    assert "error:" not in logs(folder, f"corpus-{cluster.jobs()['corpus']}")


def test_what_is_noted_of_the_jobs_may_be_damaged(tiny, cluster, tmp_path):  # noqa: F811
    folder = tiny.copy(cluster.runs)
    file = folder.path / ".work" / "jobs.json"
    file.parent.mkdir(exist_ok=True)
    job = {"id": 1, "job": "corpus", "site": "x", "nodes": 1, "stages": ["../.."], "node_hours": 1.0, "gpu_hours": 1.0}
    hostile = ["", "[" * 100_000, "[]", '{"jobs": 5}', '{"jobs": [{}]}', json.dumps({"jobs": [job]}), " " * 2_000_000]
    hostile.append(json.dumps({"jobs": [{**job, "stages": [], "id": "1; touch gone"}]}))
    for text in hostile:
        file.write_text(text)
        with pytest.raises(BadInput, match="is damaged, so the run's jobs are unknown"):
            noted(folder)
    for words in (("status", folder.path), ("cancel", folder.path), ("run", tiny.file, "--runs", cluster.runs)):
        done = command(*words, env=cluster.slurm.env)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
