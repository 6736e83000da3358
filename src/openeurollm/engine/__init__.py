"""Where work runs: this machine's processes, or a cluster with Slurm, and what is known of each site."""

from openeurollm.engine.crew import Crew
from openeurollm.engine.pool import Engine
from openeurollm.engine.progress import Reporter, Task
from openeurollm.engine.site import Site, for_cpus
from openeurollm.engine.slurm import Job, Part

__all__ = ["Crew", "Engine", "Job", "Part", "Reporter", "Site", "Task", "for_cpus"]
