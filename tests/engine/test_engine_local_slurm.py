"""The Slurm that other tests rely on: its jobs, steps and signals, what a lost node does, what outlives it."""

import os
import subprocess
from contextlib import suppress

import psutil
import pytest

from slurm import LocalSlurm, until

NOTE = "echo run $SLURM_RESTART_COUNT on $SLURMD_NODENAME >> $SLURM_JOB_ID.txt\n"


def lines(slurm, name):
    """What a job has written so far: it is RUNNING a moment before its first line runs."""
    file = slurm.folder / name
    return file.read_text().splitlines() if file.exists() else []


@pytest.fixture(scope="module")
def signalled(slurm):
    """A job that is told half a minute before its time is over; Slurm looks at the clock twice a minute."""
    script = "trap 'echo told; exit 0' USR1; sleep 60 & wait"
    return slurm.submit(
        script, "--time=1", "--signal=B:USR1@30", "--nodelist=n4", "--output=signal.out", "--error=/dev/null"
    )


def test_the_steps_of_a_batch_job_run_on_two_nodes(slurm, signalled):
    job = slurm.submit("srun bash -c 'echo $SLURM_NODEID $SLURMD_NODENAME'", "--nodes=2", "--output=steps.out")
    slurm.wait(job, "COMPLETED")
    ranks, nodes = zip(*(line.split() for line in lines(slurm, "steps.out")))
    assert sorted(ranks) == ["0", "1"]
    assert len(set(nodes) & set(slurm.nodes)) == 2


def test_every_element_of_an_array_runs_and_can_be_asked_for(slurm):
    job = slurm.submit("exit $SLURM_ARRAY_TASK_ID", "--array=0-2%2", "--output=/dev/null")
    assert [slurm.wait(f"{job}_{element}", {"COMPLETED", "FAILED"}) for element in range(3)] == [
        "COMPLETED",
        "FAILED",
        "FAILED",
    ]
    assert slurm.job(f"{job}_2")["ExitCode"] == "2:0"


def test_a_job_on_gpus_sees_the_numbers_of_its_own(slurm):
    job = slurm.submit("echo $CUDA_VISIBLE_DEVICES", "--partition=gpu", "--gpus-per-node=2", "--output=gpus.out")
    slurm.wait(job, "COMPLETED")
    assert lines(slurm, "gpus.out") == ["0,1"]


def test_a_cancelled_job_is_gone_with_its_processes(slurm):
    job = slurm.submit("echo $$; exec sleep 600", "--output=cancelled.out")
    slurm.wait(job, "RUNNING")
    until(lambda: lines(slurm, "cancelled.out"), 10, "the job does not start")
    slurm.call("scancel", job)
    slurm.wait(job, "CANCELLED")
    until(lambda: not psutil.pid_exists(int(lines(slurm, "cancelled.out")[0])), 10, "the job runs on")


def test_a_job_puts_itself_back_and_runs_again(slurm):
    script = NOTE + '[ -n "$SLURM_RESTART_COUNT" ] || { scontrol requeue $SLURM_JOB_ID; sleep 600; }'
    job = slurm.submit(script, "--requeue", "--output=/dev/null")
    slurm.wait(job, "COMPLETED")
    assert [line.split()[:2] for line in lines(slurm, f"{job}.txt")] == [["run", "on"], ["run", "1"]]


def test_a_job_of_a_dead_node_runs_again_elsewhere(slurm):
    script = NOTE + '[ -n "$SLURM_RESTART_COUNT" ] || sleep 600'
    job = slurm.submit(script, "--requeue", "--output=/dev/null", "--exclude=n3,n4")
    slurm.wait(job, "RUNNING")
    until(lambda: lines(slurm, f"{job}.txt"), 10, "the job does not start")
    node = slurm.job(job)["NodeList"]
    slurm.kill(node)
    try:
        slurm.wait(job, "COMPLETED", 60)
    finally:
        slurm.start(node)
    first, second = lines(slurm, f"{job}.txt")
    assert first.endswith(node)
    assert second.startswith("run 1 on ") and not second.endswith(node)


def test_there_is_no_accounting_and_slurm_says_so(slurm):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        slurm.call("sacct")
    assert "accounting storage is disabled" in refused.value.stderr


def test_a_job_is_told_before_its_time_is_over(slurm, signalled):
    slurm.wait(signalled, "COMPLETED", 80)
    assert lines(slurm, "signal.out") == ["told"]


def test_a_controller_comes_back_with_its_jobs(slurm):
    job = slurm.submit("sleep 1", "--output=/dev/null")
    slurm.wait(job, "RUNNING")
    slurm.stop_controller()
    slurm.start_controller()
    slurm.wait(job, "COMPLETED")


def test_nothing_outlives_the_cluster(tmp_path):
    if not LocalSlurm.available():
        pytest.skip("Slurm is not installed: apt-get install slurmctld slurmd slurm-client")
    work = f"sleep {600 + os.getpid()}"

    def running():
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                opened = [file.path for file in process.open_files()]
                if work in " ".join(process.cmdline()) or any(path.startswith(str(tmp_path)) for path in opened):
                    yield process.name()

    with LocalSlurm(tmp_path, nodes=2) as slurm:
        slurm.submit(f"srun {work} & setsid {work} & wait", "--nodes=2", "--exclusive")
        until(lambda: list(running()).count("sleep") == 3, 20, "the job does not start")
        waiting = subprocess.Popen(["srun", *work.split()], env=slurm.env, stderr=subprocess.DEVNULL)
        assert {"slurmctld", "slurmd", "slurmstepd", "srun"} <= set(running())
    waiting.wait(10)
    assert list(running()) == []
