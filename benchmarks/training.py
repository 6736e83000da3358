"""Measure the training: tokens a second beside others', what checkpoints cost, and what is learnt in the same time.

    python benchmarks/training.py [--data DIR] [--nanochat DIR] [--shapes 5M 25M] [--json]
    python benchmarks/training.py --data DIR --minutes 5 --seeds 3 --only quality
    python benchmarks/training.py --data DIR --tune 60 --clock cpu

The others are Hugging Face's `Trainer`, litgpt and nanochat, each in an environment of its own that is made on first
use; nanochat's source is fetched at a fixed commit, or taken from `--nanochat`. One that cannot run is named with the
reason.

Speed: all tools train a decoder of the same shape (nanochat's own blocks, of the same width and depth) on the same
ids, with the same positions a step and threads, eager and compiled, in float32 and bfloat16; of each peer the fastest
counts, of ours what it decides by itself. Each waits after its warm-up; then they go by turns, a few steps each, so
that a machine that grows busy is busy for all. `matmul_ratio` is FLOP of training a second over those of a plain
float32 product measured in the same process after every turn.

Checkpoints: our trainer by turns with and without them, many more than anyone would make; told is the share that those
of the recipe's default would take.

Quality: every tool trains for the same time, its compilation included and the import of its packages not, on the same
documents in equal shares of all languages. Ours is the trainer as it is used, with a budget of the time's FLOP: shape,
batch and rates follow from it. The others get the time that ours took, and the settings below, which `--tune` found.
Scored are documents of sources that nobody trained on, in bits per byte of each language; the mean is over languages.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import peer
from peer import CannotRun
from training_peers.material import Material, make

SCRIPTS = Path(__file__).resolve().parent / "training_peers"
TORCH = "torch==2.13.0"
ENVIRONMENTS = {
    "transformers": (TORCH, "transformers==5.23.0", "accelerate==1.15.0"),
    "litgpt": (TORCH, "litgpt==0.5.13"),
    "nanochat": (TORCH, "numpy", "filelock", "setuptools"),
}
NANOCHAT = ("https://github.com/karpathy/nanochat", "92d63d4e8bb4df75c3b71618f31ddde2378b2bcd")
CONTEXT, VOCABULARY = 512, 16_384
SHAPES = {
    "5M": {"layers": 4, "width": 128, "heads": 2, "head": 64, "feed_forward": 384},
    "25M": {"layers": 7, "width": 384, "heads": 6, "head": 64, "feed_forward": 1_024},
}
LEARNT, SCORED, ROWS = 400_000, 16_000, 12_000
"""Bytes a language that are learnt from and scored, at most, and rows for the others."""
OFTEN = 5
"""Steps between two checkpoints where their cost is measured."""
CALIBRATION, CALIBRATIONS = 10, 3
"""Steps by which the length of a training is found, and how often: a machine may be slow for a moment."""

SETTINGS: dict[str, dict[str, Any]] = {
    "transformers": {
        "compiled": True,
        "precision": "bf16",
        "rate": 1e-3,
        "rows": 8,
        "decay": 0.1,
        "warmup": 0.02,
        "falling": 0.5,
    },
    "nanochat": {
        "compiled": True,
        "precision": "bf16",
        "rates": 0.7,
        "rows": 8,
        "layers": 2,
        "width": 192,
        "head": 64,
        "decay": 0.0,
    },
}
"""What the others train with for quality: rows a step, and what `training_peers` says of the rest."""
MINE = "ours: as it decides"
OURS: dict[str, dict[str, Any]] = {
    "as it decides": {},
    "compiled fp32": {"precision": "fp32", "compile": True},
    "compiled bf16": {"precision": "bf16", "compile": True},
}
THEIRS = ("eager fp32", "compiled fp32", "compiled bf16")
"""How each tool is tried; of the others the fastest counts."""
UNTIMED = 2
"""Steps that `--tune` does not count, since kernels are compiled in them."""
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "transformers": {"rate": (1e-3, 2e-3, 4e-3, 8e-3), "rows": (4, 8)},
    "nanochat": {"rates": (0.35, 0.7, 1.0), "rows": (4, 8), "layers": (2, 4), "width": (128, 192)},
}
"""What `--tune` tries, a setting after the other."""


@dataclass(frozen=True)
class Task:
    """What a tool is asked to do; `training_peers/job.py` says what the fields mean."""

    task: str
    shape: dict[str, int]
    rows: int
    data: str
    held: str
    compiled: bool
    threads: int
    precision: str = "fp32"
    seed: int = 1
    warm: int = 2
    seconds: float = 0.0
    clock: str = "wall"
    settings: dict[str, Any] | None = None
    device: str = "cpu"
    untimed: int = 0


class Tool:
    """A tool in a process of its own, at work on a task."""

    def __init__(self, name: str, python: Path, task: Task, folder: Path) -> None:
        self.name, self.task = name, task
        job = folder / f"{name}-{len(list(folder.glob('*.job.json')))}.job.json"
        job.write_text(json.dumps(asdict(task) | {"settings": task.settings or {}}))
        threads = {f"{each}_NUM_THREADS": str(task.threads) for each in ("OMP", "OPENBLAS", "MKL")}
        alone = {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
        alone["TORCHINDUCTOR_CACHE_DIR"] = str(job.with_suffix(".compiled"))  # nobody finds what another one compiled
        if task.device == "cpu":
            alone["CUDA_VISIBLE_DEVICES"] = ""
        # our package sets this for itself
        inherited = {key: value for key, value in os.environ.items() if name == "ours" or key != "GOMP_SPINCOUNT"}
        self._complaints = job.with_suffix(".log")
        with open(self._complaints, "wb") as complaints:
            self._process = subprocess.Popen(
                [str(python), str(SCRIPTS / f"run_{name}.py"), str(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                env=inherited | threads | alone,
            )

    def answer(self) -> dict[str, Any]:
        """What it says next; raises `CannotRun` with its last complaint where it says nothing."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            told: dict[str, Any] = json.loads(line)
            return told
        code = self._process.wait()
        complaints = [each for each in self._complaints.read_text("utf-8", "replace").splitlines() if each.strip()]
        raise CannotRun((complaints or [f"exit code {code}"])[-1].strip()[:300])

    def go(self, steps: int) -> dict[str, Any]:
        """Let it make so many steps; returns what they took."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it died of is in its answer
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()


class Bench:
    """The tools that can run here, and how they are asked."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.pythons, self.reasons = {"ours": Path(sys.executable)}, {}
        self.source = ""
        for name in [each for each in ENVIRONMENTS if each in options.tools]:
            try:
                self.pythons[name] = peer._environment(options.environments / name, ENVIRONMENTS[name])
                if name == "nanochat":
                    self.source = str(nanochat(options))
            except CannotRun as reason:
                self.reasons[name] = str(reason)
                self.pythons.pop(name, None)

    def tool(self, name: str, task: Task) -> Tool:
        """Start a tool on a task."""
        settings = dict(task.settings or {}) | ({"folder": self.source} if name == "nanochat" else {})
        return Tool(name, self.pythons[name], Task(**(vars(task) | {"settings": settings})), self.folder)

    def task(self, material: Material, task: str, shape: dict[str, int], rows: int, **more: Any) -> Task:
        """What is asked of a tool with the text."""
        told = {"compiled": True, "threads": self.options.threads, **more}
        return Task(task, shape, rows, str(material.rows), str(material.held), **told)

    def material(self, name: str, vocabulary: int) -> Material:
        """The text, with a vocabulary of a size."""
        print(f"text with a vocabulary of {vocabulary:,} …", file=sys.stderr)
        return make(self.options.data, self.folder / name, vocabulary, CONTEXT, ROWS, LEARNT, SCORED)


def nanochat(options: argparse.Namespace) -> Path:
    """The folder of nanochat's source, fetched where none is given."""
    if options.nanochat:
        if not (options.nanochat / "nanochat" / "gpt.py").is_file():
            raise CannotRun(f"{options.nanochat}: not nanochat's source")
        return Path(options.nanochat).resolve()
    address, commit = NANOCHAT
    folder: Path = options.environments / f"nanochat-{commit[:12]}"
    if not (folder / "nanochat" / "gpt.py").is_file():
        git = ["git", "-C", str(folder)]
        folder.mkdir(parents=True, exist_ok=True)
        for command in (["init", "-q"], ["fetch", "-q", "--depth", "1", address, commit], ["checkout", "-q", commit]):
            peer.run([*git, *command], "cannot be fetched, give its folder with --nanochat")
    return folder


# Speed.


def speed(bench: Bench, material: Material, name: str) -> dict[str, Any]:
    """Tokens a second and share of matmul of all tools with one shape, by turns."""
    options = bench.options
    shape = SHAPES[name] | {"vocabulary": material.vocabulary, "context": CONTEXT}
    rows = max(1, options.batch_tokens // CONTEXT)
    tools: dict[str, Tool] = {}
    starts: dict[str, float] = {}
    reasons: dict[str, str] = dict(bench.reasons)
    for tool in bench.pythons:
        for how in OURS if tool == "ours" else THEIRS:
            words = f"{tool}: {how}"
            print(f"{name}: {words} starts …", file=sys.stderr)
            settings = _ours(material, OURS[how]) if tool == "ours" else {}
            compiled, precision = "compiled" in how, "bf16" if "bf16" in how else "fp32"
            task = bench.task(material, "speed", shape, rows, compiled=compiled, precision=precision, settings=settings)
            started = bench.tool(tool, task)
            try:
                starts[words] = started.answer()["seconds"]
                tools[words] = started
            except CannotRun as reason:
                reasons[words] = str(reason)
                started.end()
    if MINE in reasons:
        raise CannotRun(f"ours: {reasons[MINE]}")
    try:
        found = turns(tools, options.rounds, options.steps)
    finally:
        for started in tools.values():
            started.end()
    tokens = options.steps * rows * CONTEXT
    figures = {
        words: _figures(rounds, tokens) | {"start_s": round(starts[words], 1)} for words, rounds in found.items()
    }
    return _table(figures, found, reasons) | {"vocabulary": material.vocabulary}


def _ours(material: Material, model: dict[str, Any]) -> dict[str, Any]:
    """The settings of ours: the folder, and what the recipe says."""
    return {"run": str(material.run), "text_bytes": material.text_bytes, "model": model}


def turns(tools: dict[str, Tool], rounds: int, steps: int) -> dict[str, list[dict[str, Any]]]:
    """What every tool took for its steps in each round, in which all have a turn, each time another one first."""
    found: dict[str, list[dict[str, Any]]] = {words: [] for words in tools}
    names = list(tools)
    for turn in range(rounds):
        first = turn % len(names)
        for words in names[first:] + names[:first]:
            found[words].append(tools[words].go(steps))
        print(f"round {turn + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return found


def _figures(rounds: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
    ratios = [tokens / each["seconds"] * each["flop_per_token"] / each["matmul_flop_per_s"] for each in rounds]
    return {
        "tokens_per_s": round(statistics.median(tokens / each["seconds"] for each in rounds), 1),
        "matmul_ratio": round(statistics.median(ratios), 3),
        "tokens_per_cpu_s": round(statistics.median(tokens / each["cpu_s"] for each in rounds), 1),
        "parameters": round(rounds[0]["parameters"]),
    }


def _table(
    figures: dict[str, dict[str, Any]], found: dict[str, list[dict[str, Any]]], reasons: dict[str, str]
) -> dict[str, Any]:
    """Ours, each peer at its best, and how many times as fast ours is as each, the median over rounds."""
    tools: dict[str, Any] = {}
    for words in sorted(figures, key=lambda each: (each != MINE, -figures[each]["tokens_per_s"])):
        tool, how = words.split(": ")
        faster = [theirs["seconds"] / ours["seconds"] for ours, theirs in zip(found[MINE], found[words], strict=True)]
        best = figures[words] | {"how": how, "ratio": round(statistics.median(faster), 3), "variants": {}}
        tools.setdefault(tool, best)["variants"][how] = figures[words]["tokens_per_s"]
    mine = tools.pop("ours")
    for words, reason in reasons.items():
        tools.setdefault(words.split(": ")[0], {"reason": reason})
    ratio = min((each["ratio"] for each in tools.values() if "ratio" in each), default=None)
    return {"ours": mine, "peers": tools, "ratio": ratio}


# Checkpoints.


def checkpoints(bench: Bench, material: Material, name: str) -> dict[str, Any]:
    """What a checkpoint costs, and the share of the time at the recipe's default."""
    from openeurollm.recipe import Model

    options = bench.options
    shape = SHAPES[name] | {"vocabulary": material.vocabulary, "context": CONTEXT}
    rows = max(1, options.batch_tokens // CONTEXT)
    tools: dict[str, Tool] = {}
    try:
        for words, steps in (("with", OFTEN), ("without", 1 << 30)):
            print(f"{name}: {words} checkpoints …", file=sys.stderr)
            settings = _ours(material, {"checkpoint_steps": steps})
            tools[words] = bench.tool("ours", bench.task(material, "speed", shape, rows, settings=settings))
            tools[words].answer()
        found = turns(tools, options.rounds, 2 * OFTEN)
    finally:
        for started in tools.values():
            started.end()
    pairs = zip(found["with"], found["without"], strict=True)
    cost = statistics.median((one["seconds"] - other["seconds"]) / 2 for one, other in pairs)
    step = statistics.median(each["seconds"] for each in found["without"]) / (2 * OFTEN)
    every = Model().checkpoint_steps
    return {
        "seconds_a_checkpoint": round(cost, 3),
        "seconds_a_step": round(step, 3),
        "checkpoint_steps": every,
        "share": round(max(0.0, cost) / (every * step), 4),
    }


# Quality.


def train(bench: Bench, name: str, task: Task) -> dict[str, Any]:
    """Train with a tool and return what it says, the mean over languages with it."""
    settings = {key: value for key, value in (task.settings or {}).items() if key not in ("run", "text_bytes")}
    print(f"{name}, seed {task.seed}: {settings} …", file=sys.stderr)
    started = bench.tool(name, task)
    try:
        while "bits_per_byte" not in (told := started.answer()):
            pass
    finally:
        started.end()
    told["mean"] = statistics.mean(told["bits_per_byte"].values())
    words = "  {mean:.4f} bits a byte, {tokens:,} tokens in {seconds:.0f} s".format(**told)
    print(f"{words}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return told


def theirs(bench: Bench, name: str, settings: dict[str, Any], material: Material, ours: dict[str, int]) -> Task:
    """The task of a peer: the shape of ours, or for nanochat its own."""
    shape = dict(ours)
    if name == "nanochat":
        width, head = settings["width"], settings["head"]
        shape |= {"layers": settings["layers"], "width": width, "head": head, "heads": width // head}
    more = {"settings": settings, "clock": bench.options.clock}
    for key in ("compiled", "precision"):
        more[key] = settings[key]
    return bench.task(material, "quality", shape, settings["rows"], **more)


def quality(bench: Bench, material: Material) -> dict[str, Any]:
    """Bits per byte of held-out text after the same time, ours and the peers', over seeds."""
    options = bench.options
    found: dict[str, list[dict[str, Any]]] = {}
    reasons = {**bench.reasons, "litgpt": "trains as Trainer does, with AdamW and a decoder of the same kind"}
    for seed in range(1, options.seeds + 1):
        mine, shape = ours(bench, material, seed)
        found.setdefault("ours", []).append(mine)
        for name in [each for each in SETTINGS if each in bench.pythons]:
            task = theirs(bench, name, SETTINGS[name], material, shape)
            try:
                told = train(bench, name, Task(**(vars(task) | {"seed": seed, "seconds": mine["seconds"]})))
                found.setdefault(name, []).append(told)
            except CannotRun as reason:
                reasons[name] = str(reason)
    figures = {name: _scores(told) for name, told in found.items()}
    peers = {name: each for name, each in figures.items() if name != "ours"}
    best = min((each["bits_per_byte"] for each in peers.values()), default=None)
    return {
        "ours": figures["ours"],
        "peers": {**{name: {"reason": reason} for name, reason in reasons.items()}, **peers},
        "ratio": round(figures["ours"]["bits_per_byte"] / best, 4) if best else None,
        "held_out": material.held_out,
    }


def ours(bench: Bench, material: Material, seed: int) -> tuple[dict[str, Any], dict[str, int]]:
    """What our trainer makes of the time, and its shape: a short training tells how many steps there is time for."""
    options = bench.options
    settings = _ours(material, {}) | {"minutes": options.minutes}
    empty = {"vocabulary": material.vocabulary, "context": CONTEXT}
    task = bench.task(material, "speed", empty, 0, seed=seed, settings=settings)
    started = bench.tool("ours", task)
    try:
        shape = started.answer()["shape"]
        warm = started.answer()["seconds"]
        step = statistics.median(started.go(CALIBRATION)["seconds"] for _ in range(CALIBRATIONS)) / CALIBRATION
    finally:
        started.end()
    steps = max(CALIBRATION, round((60 * options.minutes - warm) / step) + task.warm)
    task = Task(**(vars(task) | {"task": "quality", "seconds": 1e9, "settings": settings | {"steps": steps}}))
    return train(bench, "ours", task), shape


def _scores(told: list[dict[str, Any]]) -> dict[str, Any]:
    means = [each["mean"] for each in told]
    tags = told[0]["bits_per_byte"]
    return {
        "bits_per_byte": round(statistics.mean(means), 4),
        "spread": round(max(means) - min(means), 4),
        "seeds": [round(each, 4) for each in means],
        "seconds": round(statistics.mean(each["seconds"] for each in told), 1),
        "tokens": round(statistics.mean(each["tokens"] for each in told)),
        "parameters": round(told[0]["parameters"]),
        "languages": {tag: round(statistics.mean(each["bits_per_byte"][tag] for each in told), 4) for tag in tags},
    }


def tune(bench: Bench, material: Material, shape: dict[str, int]) -> dict[str, Any]:
    """The best settings of the peers that are found by going through them once, one setting after the other."""
    found: dict[str, Any] = {}
    for name in [each for each in GRIDS if each in bench.pythons]:
        best = dict(SETTINGS[name])
        tried: list[tuple[float, dict[str, Any]]] = []

        def score(settings: dict[str, Any], name: str = name, tried: Any = tried) -> float:
            known = next((mean for mean, each in tried if each == settings), None)
            if known is not None:
                return float(known)
            task = theirs(bench, name, settings, material, shape)
            told = train(bench, name, Task(**(vars(task) | {"seconds": bench.options.tune, "untimed": UNTIMED})))
            tried.append((told["mean"], settings))
            return float(told["mean"])

        for key, values in GRIDS[name].items():
            best = min(({**best, key: value} for value in values), key=score)
        found[name] = {"best": best, "tried": sorted(tried, key=lambda each: each[0])}
    return found


# Printing.


def show(found: dict[str, Any]) -> None:
    """All figures as tables for a reader."""
    for name, table in found["speed"].items():
        print(f"{name}, {CONTEXT} positions a row, vocabulary {table['vocabulary']:,}")
        print(f"  {'':30}{'tokens/s':>10}{'of matmul':>11}{'a CPU-s':>10}{'ours is':>9}")
        for tool, each in {"ours": table["ours"], **table["peers"]}.items():
            if "reason" in each:
                print(f"  {tool:30}{each['reason']}")
                continue
            words = f"{tool} ({each['how']})"
            figures = f"{each['tokens_per_s']:10,.0f}{each['matmul_ratio']:11.2f}{each['tokens_per_cpu_s']:10,.0f}"
            others = {how: speed for how, speed in each["variants"].items() if how != each["how"]}
            told = "; ".join(f"{how} {speed:,.0f}" for how, speed in others.items())
            print(f"  {words:30}{figures}{each['ratio']:8.2f}×  {told}")
    for name, each in found["checkpoints"].items():
        print(
            f"checkpoints at {name}: {each['seconds_a_checkpoint']} s each, one in {each['checkpoint_steps']} steps of "
            f"{each['seconds_a_step']} s: {100 * each['share']:.2f} % of the time"
        )
    if found["quality"]:
        table = found["quality"]
        print("bits per byte of held-out text, mean over languages")
        for tool, each in {"ours": table["ours"], **table["peers"]}.items():
            figures = (
                "{bits_per_byte:.4f} ± {spread:.4f}, {parameters:,} parameters, {tokens:,} tokens in {seconds:.0f} s"
            )
            print(f"  {tool:16}" + (each.get("reason") or figures.format(**each)))
        tools = {tool: each for tool, each in {"ours": table["ours"], **table["peers"]}.items() if "languages" in each}
        print(f"  {'':10}" + "".join(f"{tool:>14}" for tool in tools) + "  held out")
        for tag in table["ours"]["languages"]:
            scores = "".join(f"{each['languages'][tag]:14.3f}" for each in tools.values())
            print(f"  {tag:10}{scores}  {table['held_out'][tag]}")
    print(f"load of the machine before and after: {found['load'][0]:.1f}, {found['load'][1]:.1f}")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures that are asked for."""
    before = os.getloadavg()[0]
    found: dict[str, Any] = {"speed": {}, "checkpoints": {}, "quality": {}}
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(options, Path(place))
        if {"speed", "checkpoints"} & set(options.only):
            material = bench.material("speed", VOCABULARY)
            if "speed" in options.only:
                found["speed"] = {name: speed(bench, material, name) for name in options.shapes}
            if "checkpoints" in options.only:
                found["checkpoints"] = {name: checkpoints(bench, material, name) for name in options.shapes}
        if "quality" in options.only and options.minutes:
            found["quality"] = quality(bench, bench.material("quality", options.vocabulary))
    first: dict[str, Any] = next(iter(found["speed"].values()), found["quality"]) or {}
    head = {key: first.get(key) for key in ("ours", "peers", "ratio")}
    return {**head, **found, "load": [before, os.getloadavg()[0]]}


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=peer.ROOT / "sample" / "parallel", metavar="DIR")
    parser.add_argument("--nanochat", type=Path, metavar="DIR", help="nanochat's source")
    parser.add_argument("--environments", type=Path, default=peer.CACHE, metavar="DIR", help="where the peers live")
    parser.add_argument(
        "--only", nargs="+", choices=("speed", "checkpoints", "quality"), default=["speed", "checkpoints", "quality"]
    )
    parser.add_argument("--tools", nargs="*", choices=list(ENVIRONMENTS), default=list(ENVIRONMENTS), help="the peers")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-tokens", type=int, default=4_096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="steps of a turn")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="training time for quality, which is not measured without"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=4_096, help="of the tokenizer for quality")
    parser.add_argument(
        "--tune", type=float, default=0.0, metavar="SECONDS", help="find settings for the peers instead"
    )
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: seconds of CPU over threads, to tune by"
    )
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=True, help="of the peers, for quality"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.tune:
        with tempfile.TemporaryDirectory() as place:
            bench = Bench(options, Path(place))
            material = bench.material("quality", options.vocabulary)
            shape = SHAPES["5M"] | {"vocabulary": material.vocabulary, "context": CONTEXT}
            print(json.dumps(tune(bench, material, shape), indent=1))
        return
    try:
        found = measure(options)
    except CannotRun as reason:
        sys.exit(f"training: {reason}")
    print(json.dumps(found, indent=1)) if options.json else show(found)


if __name__ == "__main__":
    main()
