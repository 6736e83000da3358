"""Measure what the engine adds to the work: ours and datatrove's on a real Slurm, with shards in which nothing is done.

    python benchmarks/engine.py [--shards N] [--peer-shards N] [--nodes N] [--json]

A Slurm of N nodes of two processors each is started on this machine, as for the tests. `ms_a_shard` is the wall time of
the whole stage, from the first to the last job's end, over its shards; `jobs` is how many elements the stage takes.
datatrove starts a process for each of its tasks, so it is asked for few. `alone_ms_a_shard` is the same stage on this
machine without Slurm, `pool_ms_a_shard` Python's own process pool with two processes. `stage_s` is what a
real stage, the corpus of the quickstart on one node, takes in its job beside the stage itself: the job's time in Slurm
(whole seconds) less the wall seconds of the record. `start_s` is `openeurollm --help`, the best of ten.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import peer
from peer import ROOT, CannotRun

from openeurollm.engine import Crew, Engine, Reporter, crew

sys.path.insert(0, str(ROOT / "tests"))

crew._ROOMS = ("engine.",)  # a crew does the work of stages; here it does none
SCRIPT = str(Path(__file__).resolve())


@dataclass(frozen=True)
class Shard:
    """A shard of nothing."""

    number: int


def nothing(shard: Shard) -> None:
    pass


def element(folder: Path, number: int) -> None:
    """One element of the array of our stage."""
    import engine

    one = Crew(2, Reporter(quiet=True), "benchmark", folder / "work", 0, folder / "costs", folder / "crew", 3.0)
    shards = [engine.Shard(each) for each in range(number)]
    crew.together(one, folder / "over.json", lambda each: each.map("nothing", engine.nothing, shards))


PIPELINE = """
import sys
from pathlib import Path
from datatrove.executor import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep

class Nothing(PipelineStep):
    name = "nothing"

    def run(self, data, rank=0, world_size=1):
        return data

SlurmPipelineExecutor(
    pipeline=[Nothing()],
    tasks=int(sys.argv[2]),
    time="00:30:00",
    partition="cpu",
    cpus_per_task=1,
    mem_per_cpu_gb=1,
    logging_dir=sys.argv[1] + "/logs",
    venv_path=str(Path(sys.executable).parent / "activate"),
).run()
"""
"""datatrove's stage, for its own Python."""


def stage(slurm: Any, folder: Path, number: int, nodes: int) -> dict[str, float]:
    """Our stage of some shards on some nodes."""
    folder.mkdir()
    job = f"date +%s.%N > {folder}/$SLURM_ARRAY_TASK_ID.began\n{sys.executable} {SCRIPT} --element {folder} {number}\n"
    job += f"date +%s.%N > {folder}/$SLURM_ARRAY_TASK_ID.ended"
    which = slurm.submit(job, f"--array=0-{nodes - 1}", "--cpus-per-task=2", f"--output={folder}/%a.log")
    wait(slurm, which, nodes)
    times = {kind: [float(file.read_text()) for file in folder.glob(f"*.{kind}")] for kind in ("began", "ended")}
    done = sum(len(file.read_bytes().splitlines()) for file in folder.glob("work/passes/*/done/*"))
    if done != number:
        raise CannotRun(f"{done} of {number} shards were done; see {folder}")
    return {"wall_s": max(times["ended"]) - min(times["began"]), "jobs": nodes}


def real(slurm: Any, runs: Path) -> float:
    """Seconds that a real stage takes in its job beside the stage itself."""
    command = [
        sys.executable,
        "-m",
        "openeurollm",
        "run",
        str(ROOT / "recipes" / "quickstart.toml"),
        "--runs",
        str(runs),
    ]
    command += ["--on", "local-slurm", "--until", "corpus", "--nodes", "1", "--wait"]
    subprocess.run(command, env=slurm.env, capture_output=True, check=True)
    run = runs / "quickstart"
    (job,) = json.loads((run / ".work" / "jobs.json").read_text())["jobs"]
    told = slurm.job(f"{job['id']}_0")
    began, ended = (datetime.fromisoformat(told[key]) for key in ("StartTime", "EndTime"))
    record = json.loads((run / "corpus" / "record.json").read_text())
    return (ended - began).total_seconds() - float(record["openeurollm"]["cost"]["wall_seconds"])


def wait(slurm: Any, job: str, number: int) -> None:
    """Wait until no element of a job is left."""
    ends = time.monotonic() + 1_500
    while slurm.call("squeue", "--noheader", "--states=PD,R,CG,CF", f"--jobs={job}"):
        if time.monotonic() > ends:
            raise CannotRun(f"job {job} of {number} does not end")
        time.sleep(0.2)


def theirs(slurm: Any, folder: Path, number: int) -> dict[str, Any]:
    """datatrove's stage of some shards."""
    python = peer.datatrove()
    folder.mkdir()
    began = time.time()
    command = [str(python), "-c", PIPELINE, str(folder), str(number)]
    done = subprocess.run(command, env=slurm.env, capture_output=True)
    if done.returncode:
        raise CannotRun(done.stderr.decode().strip().splitlines()[-1])
    while slurm.call("squeue", "--noheader"):
        time.sleep(0.2)
        if time.time() - began > 600:
            raise CannotRun("its jobs do not end")
    finished = len(list((folder / "logs" / "completions").glob("*")))
    if finished != number:
        raise CannotRun(f"{finished} of {number} shards were done")
    return {"ms_a_shard": round(1000 * (time.time() - began) / number, 1), "shards": number, "jobs": number}


def ours(slurm: Any, folder: Path, number: int, nodes: int) -> dict[str, Any]:
    """All our figures."""
    found = stage(slurm, folder / "ours", number, nodes)
    overhead = real(slurm, folder / "runs")
    shards = [Shard(each) for each in range(number)]
    began = time.perf_counter()
    Engine(2, Reporter(quiet=True), work=folder).map("nothing", nothing, shards)
    alone = time.perf_counter() - began
    began = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(nothing, shards))
    plain = time.perf_counter() - began
    starts = []
    for _ in range(10):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "openeurollm", "--help"], capture_output=True, check=True)
        starts.append(time.perf_counter() - began)
    return {
        "ms_a_shard": round(1000 * found["wall_s"] / number, 3),
        "shards": number,
        "jobs": found["jobs"],
        "alone_ms_a_shard": round(1000 * alone / number, 3),
        "pool_ms_a_shard": round(1000 * plain / number, 3),
        "stage_s": round(overhead, 2),
        "start_s": round(min(starts), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--peer-shards", type=int, default=40)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--element", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.element:
        element(Path(given.element[0]), int(given.element[1]))
        return
    from slurm import LocalSlurm

    if not LocalSlurm.available():
        sys.exit("Slurm is not installed: apt-get install slurmctld slurmd slurm-client")
    peers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, LocalSlurm(Path(name) / "slurm", nodes=given.nodes) as slurm:
        folder = Path(name)
        mine = ours(slurm, folder, given.shards, given.nodes)
        try:
            peers["datatrove"] = theirs(slurm, folder / "datatrove", given.peer_shards)
        except CannotRun as error:
            peers["datatrove"] = {"not_run": str(error)}
    ratio = peers["datatrove"].get("ms_a_shard", 0) / mine["ms_a_shard"]
    told = {"ours": mine, "peers": peers, "ratio": round(ratio, 1) or None}
    if given.json:
        print(json.dumps(told, indent=1))
        return
    for tool, figures in {"ours": mine, **peers}.items():
        print(f"{tool}: " + ", ".join(f"{key} {value}" for key, value in figures.items()))
    print(f"datatrove's time a shard over ours: {told['ratio']}")


if __name__ == "__main__":
    main()
