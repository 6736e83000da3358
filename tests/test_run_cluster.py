"""A run on a real Slurm: the same bytes as on the laptop on any number of nodes, whatever dies on the way."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openeurollm.engine import site
from openeurollm.engine import slurm as jobs_of
from openeurollm.ledger import RunFolder
from slurm import until

COMMAND = Path(sys.executable).parent / "openeurollm"
RECIPES = Path(__file__).resolve().parent.parent / "recipes"


def command(*words, env=None, given=None, most=280):
    """Run the program to its end."""
    words = [str(COMMAND), *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, env=env, input=given, timeout=most)


def outputs(folder, *stages):
    return {f"{stage}/{name}": sha for stage in stages for name, sha in folder.need(stage).outputs.items()}


class Cluster:
    """The program on the Slurm of the tests."""

    def __init__(self, slurm, runs):
        self.slurm, self.runs = slurm, runs

    def run(self, recipe, *words):
        return command("run", recipe, "--on", "local-slurm", "--runs", self.runs, *words, env=self.slurm.env)

    def start(self, recipe, *words, on="local-slurm"):
        """Run it to its end in the background."""
        words = [COMMAND, "run", recipe, "--on", on, "--runs", self.runs, "--wait", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(list(map(str, words)), env=self.slurm.env, stdout=pipe, stderr=pipe, text=True)

    def folder(self, name="tiny"):
        return RunFolder(self.runs / name)

    def status(self, name="tiny"):
        return json.loads(command("status", self.runs / name, "--json", env=self.slurm.env).stdout)

    def jobs(self, name="tiny"):
        """Numbers of the run's jobs by name."""
        return {
            job["job"]: str(job["id"])
            for job in json.loads((self.runs / name / ".work" / "jobs.json").read_text())["jobs"]
        }

    def node_of(self, process):
        """The node on which Slurm started a process."""
        told = Path(f"/proc/{process}/environ").read_bytes()
        return re.search(rb"SLURMD_NODENAME=(\w+)", told)[1].decode()


@pytest.fixture
def cluster(slurm, tmp_path):
    made = Cluster(slurm, tmp_path / "runs")
    yield made
    for file in made.runs.glob("*/.work/jobs.json"):
        for job in json.loads(file.read_text())["jobs"]:
            subprocess.run(["scancel", str(job["id"])], env=slurm.env, capture_output=True)
    until(lambda: set(slurm.call("sinfo", "--noheader", "--format=%T").split()) == {"idle"}, 90, "jobs stay")


@pytest.fixture
def tiny_until_tokenizer(tiny, cluster):
    """A run of the tiny recipe with nothing built after its tokenizer."""
    folder = tiny.copy(cluster.runs)
    for stage in ("evaluation", "tuning", "model"):
        shutil.rmtree(folder.folder(stage))
    return folder


@pytest.fixture
def own(tmp_path):
    """A site's file of one's own over that of the tests."""

    def write(text):
        (tmp_path / "my.toml").write_text(f'extends = "local-slurm"\n{text}', "utf-8")
        return str(tmp_path / "my.toml")

    return write


@pytest.fixture
def one_core(own):
    """The site of the tests with one core and one device a node: sums are those of one thread."""
    return own("[facts]\ncores = 1\ngpus = 1")


# The same bytes.


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_corpus_on_some_nodes_is_the_laptops(nodes, tiny, cluster):
    done = cluster.run(tiny.file, "--until", "corpus", "--nodes", nodes, "--wait")
    assert done.returncode == 0, done.stderr
    assert outputs(cluster.folder(), "corpus") == outputs(tiny.run, "corpus")
    record = cluster.folder().need("corpus")
    assert record.site == "local-slurm"
    assert record.counts == tiny.run.need("corpus").counts
    again = cluster.run(tiny.file, "--until", "corpus", "--nodes", nodes, "--wait")
    assert again.returncode == 0 and "everything is built already" in again.stdout


def test_the_demos_corpus_on_four_nodes_of_which_one_dies_is_the_laptops(built, cluster):
    run = cluster.start(RECIPES / "quickstart.toml", "--until", "corpus", "--nodes", 4)
    folder = cluster.folder("quickstart")
    lead = folder.crew("corpus") / "lead"
    until(lambda: any(folder.work("corpus").glob("passes/read-and-clean-*/done/*")), 120, "no page is read")
    node = cluster.node_of(lead.read_text().split("-")[-2])
    cluster.slurm.kill(node)
    try:
        _, words = run.communicate(timeout=280)
    finally:
        cluster.slurm.start(node)
    assert run.returncode == 0, words
    assert outputs(folder, "corpus") == outputs(built, "corpus")
    assert folder.need("corpus").counts == built.need("corpus").counts
    assert len(cluster.jobs("quickstart")) == 1


def test_a_training_on_two_nodes_of_which_one_dies_gives_the_laptops_weights(
    tiny, cluster, tiny_until_tokenizer, one_core
):
    run = cluster.start(tiny.file, "--until", "tuning", "--nodes", "2", on=one_core)
    folder = tiny_until_tokenizer
    checkpoints = folder.work("model") / "checkpoints"
    until(lambda: any(checkpoints.glob("step-*")), 200, "there is no checkpoint")
    job = cluster.jobs()["model"]
    node = cluster.slurm.call("squeue", "--noheader", f"--jobs={job}", "--Format=BatchHost").strip()
    other = next(name for name in cluster.slurm.nodes if name != node and name in _nodes(cluster, job))
    cluster.slurm.kill(other)
    try:
        _, words = run.communicate(timeout=280)
    finally:
        cluster.slurm.start(other)
    assert run.returncode == 0, words
    assert outputs(folder, "model", "tuning") == outputs(tiny.run, "model", "tuning")
    results = folder.need("model").results
    assert results["mixture"] == tiny.run.need("model").results["mixture"]
    assert results["processes"] == 2
    assert int(cluster.slurm.job(job).get("Restarts", 0)) >= 1


def _nodes(cluster, job):
    hosts = cluster.slurm.call("squeue", "--noheader", f"--jobs={job}", "--format=%N")
    return cluster.slurm.call("scontrol", "show", "hostnames", hosts).split()


# Asked to stop, cancelled, left without a controller.


def test_warned_of_its_time_limit_a_training_saves_a_checkpoint_and_goes_on(
    tiny, cluster, tiny_until_tokenizer, one_core
):
    run = cluster.start(tiny.file, "--until", "model", "--nodes", "1", on=one_core)
    folder = tiny_until_tokenizer
    until((folder.path / "model" / "metrics.jsonl").exists, 200, "training does not begin")
    job = cluster.jobs()["model"]
    cluster.slurm.call("scancel", "--batch", "--signal=USR1", job)
    until(lambda: int(cluster.slurm.job(job).get("Restarts", 0)) >= 1, 60, "it is not queued again")
    _, words = run.communicate(timeout=280)
    assert run.returncode == 0, words
    assert outputs(folder, "model") == outputs(tiny.run, "model")
    assert "stopped after step" in "".join(file.read_text() for file in folder.path.glob(".work/logs/model-*.log"))


def test_warned_of_its_time_limit_an_element_goes_on_in_another_job(tiny, cluster):
    run = cluster.start(tiny.file, "--until", "corpus", "--nodes", "1")
    folder = cluster.folder()
    until(lambda: any(folder.work("corpus").glob("passes/*/claims/*")), 120, "no shard is claimed")
    job = cluster.jobs()["corpus"]
    cluster.slurm.call("scancel", "--batch", "--signal=USR1", job)
    _, words = run.communicate(timeout=280)
    assert run.returncode == 0, words
    assert outputs(folder, "corpus") == outputs(tiny.run, "corpus")
    assert int(cluster.slurm.job(f"{job}_0").get("Restarts", 0)) >= 1


def test_a_cancelled_run_says_what_is_missing_and_the_next_one_finishes_it(tiny, cluster):
    run = cluster.start(tiny.file, "--until", "tokenizer", "--nodes", "2")
    folder = cluster.folder()
    until(lambda: any(folder.work("corpus").glob("passes/*/done/*")), 120, "nothing is done")
    second = cluster.run(tiny.file, "--until", "tokenizer")
    assert second.returncode == 1 and "of this run are under way" in second.stderr
    on_the_laptop = command("run", tiny.file, "--runs", cluster.runs, env=cluster.slurm.env)
    assert on_the_laptop.returncode == 1 and "of this run are under way" in on_the_laptop.stderr
    told = command("cancel", folder.path, "--json", env=cluster.slurm.env)
    assert sorted(json.loads(told.stdout)["cancelled"]) == sorted(map(int, cluster.jobs().values()))
    _, words = run.communicate(timeout=100)
    assert run.returncode == 1
    assert "incomplete, corpus is not built" in words
    assert cluster.status()["stages"]["corpus"]["state"] == "unfinished"
    done = cluster.run(tiny.file, "--until", "tokenizer", "--nodes", "2", "--wait")
    assert done.returncode == 0, done.stderr
    assert outputs(folder, "corpus", "tokenizer") == outputs(tiny.run, "corpus", "tokenizer")


def test_without_its_controller_a_stage_ends_well(tiny, cluster):
    assert cluster.run(tiny.file, "--until", "corpus", "--nodes", "2").returncode == 0
    folder = cluster.folder()
    until(lambda: any(folder.work("corpus").glob("passes/*/claims/*")), 120, "no shard is claimed")
    cluster.slurm.kill_controller()
    try:
        until(lambda: (folder.folder("corpus") / "record.json").exists(), 200, "the corpus is not built")
        silent = command("status", folder.path, env=cluster.slurm.env)
        assert silent.returncode == 1 and silent.stderr.count("\n") == 1 and "Slurm does not answer" in silent.stderr
    finally:
        cluster.slurm.start_controller()
    assert outputs(folder, "corpus") == outputs(tiny.run, "corpus")


def test_a_stage_whose_predecessor_is_not_whole_is_not_begun(tiny, cluster):
    """The chain goes on after a job that failed; each job looks for itself."""
    settings = ("--set", "sources.web.path=" + str(tiny.home / "broken.warc.gz"))
    (tiny.home / "broken.warc.gz").write_bytes(b"this is no archive")
    done = cluster.run(tiny.file, *settings, "--until", "tokenizer", "--nodes", "2", "--wait")
    assert done.returncode == 1
    assert "incomplete, corpus is not built" in done.stderr and "Greek (el)" in done.stderr
    log = "".join(file.read_text() for file in cluster.folder().path.glob(".work/logs/tokenizer-*.log"))
    assert "corpus is not whole" in log and "Traceback" not in log


def test_status_shows_jobs_passes_and_forecasts(tiny, cluster):
    assert cluster.run(tiny.file, "--until", "corpus", "--nodes", "2").returncode == 0
    until(lambda: cluster.status()["jobs"][0]["passes"], 120, "no pass is shown")
    (job,) = cluster.status()["jobs"]
    assert job["job"] == "corpus" and job["site"] == "local-slurm" and job["nodes"] == 2
    assert sum(job["states"].values()) == 2
    assert job["passes"][0]["title"] == "rules of sites" and job["node_hours"] > 0
    until(lambda: (cluster.status()["jobs"][0]["used"]["node_hours"] or 0) > 0, 120, "no hours are used")
    words = command("status", cluster.folder().path, env=cluster.slurm.env).stdout
    assert "corpus" in words and "local-slurm" in words and "node-hours" in words


# What cannot be is refused before anything is submitted.


def refused(cluster, tiny, *words, env=None):
    done = command("run", tiny.file, "--runs", cluster.runs, *words, env=env or cluster.slurm.env)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert not cluster.slurm.call("squeue", "--noheader")
    return done.stderr


def test_mistakes_are_told_in_a_line(cluster, tiny, own):
    assert "unknown site `lumi`" in refused(cluster, tiny, "--on", "lumi")
    assert "wants an account" in refused(cluster, tiny, "--on", own("[facts]\naccount_required = true"))
    assert "nosuch" in refused(cluster, tiny, "--on", own('[facts]\npartition = "nosuch"'))
    assert "5 nodes, but local-slurm allows 4" in refused(cluster, tiny, "--on", "local-slurm", "--nodes", "5")
    assert "give a number of nodes" in refused(cluster, tiny, "--on", "local-slurm", "--nodes", "many")
    assert "no such job" in refused(cluster, tiny, "--on", "local-slurm", "--nodes", "modle=2")
    assert "is no walltime" in refused(cluster, tiny, "--on", "local-slurm", "--walltime", "soon")
    assert "did you mean `partition`" in refused(cluster, tiny, "--on", own('[facts]\npartitoin = "cpu"'))
    dear = own("[use]\nconfirm_node_hours = 0.01")
    assert "say --yes if that is meant" in refused(cluster, tiny, "--on", dear)


def test_slurms_own_refusal_is_told_in_a_line(cluster, tiny, own):
    """A profile that promises more than the cluster gives: Slurm is asked before the first job is submitted."""
    words = refused(cluster, tiny, "--on", own('[facts]\nwalltime = "9:00:00"\n[use]\nwalltime = "9:00:00"'))
    assert "`walltime` is 9:00:00 in the profile, but" in words


def test_without_slurm_on_the_machine_it_is_said(cluster, tiny, tmp_path):
    env = {**os.environ, "PATH": str(tmp_path)}
    assert "no Slurm on this machine" in refused(cluster, tiny, "--on", "local-slurm", env=env)


# The scripts.


def test_the_dry_run_for_lumi_prints_scripts_that_a_shell_can_read(tiny, tmp_path):
    done = command("run", RECIPES / "quickstart.toml", "--on", "lumi-g", "--dry-run", "--runs", tmp_path / "runs")
    assert done.returncode == 0
    assert "would be refused: lumi-g wants an account" in done.stderr
    assert "#SBATCH --partition=standard-g" in done.stdout and "#SBATCH --gpus-per-node=1" in done.stdout
    assert not (tmp_path / "runs").exists()
    words = ("--account", "project_465000000", "--json", "--runs", tmp_path / "runs")
    told = json.loads(command("run", RECIPES / "quickstart.toml", "--on", "lumi-g", "--dry-run", *words).stdout)
    assert [job["job"] for job in told["jobs"]] == [
        "corpus", "tokenizer", "model", "tuning", "evaluation", "release-board"
    ]  # fmt: skip
    assert told["problems"] == [] and told["total"]["node_hours"] > 0
    for job in told["jobs"]:
        assert "#SBATCH --account=project_465000000" in job["script"]
        shell = subprocess.run(["bash", "-n"], input=job["script"], text=True, capture_output=True)
        assert shell.returncode == 0 and not shell.stderr, shell.stderr


def test_a_script_runs_in_a_folder_with_a_strange_name(tmp_path):
    where = site.load("local-slurm").model_copy(update={"launcher": ["env", "A=it's $HOME; rm -rf *"]})
    job = jobs_of.Job("corpus", ("corpus",), "array", where, 2, "10:00")
    folder = tmp_path / "a b; $(touch gone) 'c'"
    text = jobs_of.script(job, folder, "/usr/bin/python3")
    shown = text.split("export OMP")[0] + '\nprintf "%s\\n" "${python[@]}" "${program[@]}"'
    done = subprocess.run(["bash"], input=shown, text=True, capture_output=True, cwd=tmp_path)
    assert done.stdout.splitlines()[:3] == ["env", "A=it's $HOME; rm -rf *", "/usr/bin/python3"]
    assert str(folder) in done.stdout.splitlines()
    assert not (tmp_path / "gone").exists()
    with pytest.raises(jobs_of.BadInput, match="Slurm cannot write"):
        jobs_of.script(job, tmp_path / "100 %")


def test_ten_thousand_shards_are_few_jobs(tiny):
    """However many shards there are, a stage is one array with an element a node."""
    from openeurollm.run import jobs, plan

    steps = plan(tiny.recipe, RunFolder(Path("/nonexistent/run")))
    found = jobs(tiny.recipe, steps, site.load("lumi-g"), {"": 50})
    assert len(found) == 6
    assert all(job.nodes <= 50 for job in found)
