"""Where work runs: this machine's processes."""

from openeurollm.engine.pool import Engine
from openeurollm.engine.progress import Reporter, Task

__all__ = ["Engine", "Reporter", "Task"]
