"""What work costs: wall and CPU seconds, GPU-hours, and energy with its method and uncertainty."""

import json
import logging
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

from openeurollm.ledger.files import write_json

_BEAT = 5.0
"""Seconds between two notes of the cost so far, so that a killed attempt is counted as well."""


class Meter:
    """Measures a block of work and adds to what earlier, killed attempts had noted in `notes`.

    After the block, `cost` holds `wall_seconds`, `cpu_seconds` (this process and its finished children), `gpu_hours`,
    `attempts`, and `energy` with `kwh`, `low`, `high` and `method`.
    """

    def __init__(self, notes: Path, gpus: int = 0) -> None:
        self._notes, self._gpus = notes, gpus
        self._before = _read(notes)
        self._stop = threading.Event()
        self.cost: dict[str, Any] = {}

    def __enter__(self) -> "Meter":
        self._wall, self._cpu = time.monotonic(), _cpu_seconds()
        self._energy = _Energy()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._note()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._note(final=True)

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT):
            self._note()

    def _note(self, final: bool = False) -> None:
        wall = time.monotonic() - self._wall
        before = self._before
        kwh, method, factor = self._energy.read(final)
        kwh += before.get("energy", {}).get("kwh", 0.0)
        self.cost = {
            "wall_seconds": round(before.get("wall_seconds", 0.0) + wall, 2),
            "cpu_seconds": round(before.get("cpu_seconds", 0.0) + _cpu_seconds() - self._cpu, 2),
            "gpu_hours": round(before.get("gpu_hours", 0.0) + wall * self._gpus / 3600, 5),
            "attempts": before.get("attempts", 0) + 1,
            "energy": {
                "kwh": round(kwh, 8),
                "low": round(kwh / factor, 8),
                "high": round(kwh * factor, 8),
                "method": method,
            },
        }
        try:
            write_json(self._notes, self.cost)
        except OSError:
            if final:
                raise


class _Energy:
    """CodeCarbon, offline, for this process and its children; it says itself whether it reads counters or estimates."""

    def __init__(self) -> None:
        self._kwh, self._method = 0.0, "not measured: the package codecarbon is not installed"
        self._factor = 1.0
        self._tracker: Any = None
        try:
            from codecarbon import OfflineEmissionsTracker
        except ImportError:
            return
        logging.disable(logging.CRITICAL)  # its start-up messages are not for our users
        self._tracker = OfflineEmissionsTracker(
            country_iso_code="FIN",  # only the energy is read; the grid's intensity is applied by the papers
            log_level="critical",
            save_to_file=False,
            tracking_mode="process",
            measure_power_secs=5,
            allow_multiple_runs=True,
        )
        self._tracker.start()
        logging.disable(logging.NOTSET)

    def read(self, final: bool) -> tuple[float, str, float]:
        """Energy in kWh so far, the method, and the factor by which it may be wrong either way."""
        if self._tracker is None:
            return self._kwh, self._method, self._factor
        if final:
            self._tracker.stop()
        self._kwh = float(self._tracker._total_energy.kWh)
        modes = [getattr(part, "_mode", "") for part in self._tracker._hardware]
        counted = any(mode in ("intel_rapl", "intel_power_gadget") for mode in modes)
        how = "hardware counters" if counted else "CPU load times the processor's rated power, and memory"
        self._method = f"CodeCarbon, this process and its children: {how}"
        self._factor = 1.15 if counted else 3.0
        if final:
            self._tracker = None
        return self._kwh, self._method, self._factor


def spent(notes: Path) -> float | None:
    """Energy in kWh that a `Meter` at work has noted so far, killed attempts included; None where it measures none."""
    energy = _read(notes).get("energy")
    kwh = energy.get("kwh") if isinstance(energy, dict) else None
    return float(kwh) if isinstance(kwh, int | float) and kwh > 0 else None


def with_others(cost: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A cost and, added to it, the CPU seconds, GPU-hours and energy that other processes of the work noted in files
    of `folder`.
    """
    others = [note for file in sorted(folder.glob("*.json")) if (note := _read(file))]
    energy = [cost["energy"], *(note["energy"] for note in others)]
    return {
        **cost,
        "cpu_seconds": round(sum(note["cpu_seconds"] for note in (cost, *others)), 2),
        "gpu_hours": round(sum(note["gpu_hours"] for note in (cost, *others)), 5),
        "energy": {
            **{key: round(sum(part[key] for part in energy), 8) for key in ("kwh", "low", "high")},
            "method": cost["energy"]["method"],
        },
    }


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _read(notes: Path) -> dict[str, Any]:
    try:
        found = json.loads(notes.read_text("utf-8"))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def host() -> dict[str, Any]:
    """The machine: name, processor, cores this process may use, memory in bytes, system."""
    import platform

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "name": platform.node(),
        "processor": _processor(),
        "cores": cores(),
        "memory_bytes": memory,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
