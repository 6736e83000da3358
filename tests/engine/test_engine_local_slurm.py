"""The Slurm that other tests rely on: its jobs, steps and signals, what a lost node does, what outlives it."""


def test_the_steps_of_a_batch_job_run_on_two_nodes(slurm):
    job = slurm.submit("srun bash -c 'echo $SLURM_NODEID $SLURMD_NODENAME'", "--nodes=2", "--output=steps.out")
    slurm.wait(job, "COMPLETED")
    said = (slurm.folder / "steps.out").read_text().splitlines()
    assert [line.split()[0] for line in sorted(said)] == ["0", "1"]
    assert {line.split()[1] for line in said} < set(slurm.nodes)
