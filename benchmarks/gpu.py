"""Measure the training of a 1.7B decoder on one GPU: tokens a second and the share of the device's bfloat16 peak.

    python benchmarks/gpu.py [--precision bf16 fp8] [--nanochat DIR] [--torchtitan DIR] [--json]

Ours is the trainer with Qwen3 1.7B's shape on random ids, in each precision, eager and compiled. The others run in this
Python's environment, where their packages must be: nanochat (its own blocks, 24 layers of 1,536) and torchtitan (its
own Qwen3 1.7B), each from a folder with its source. FLOP are 6 a parameter that multiplies a token, and causal
attention over half the context; the peak is the maker's dense figure, 989 TFLOP/s for an H100 or H200.

Without a GPU it says so and measures nothing; `--small` trains a small decoder anywhere, only to see that this program
runs.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from peer import CannotRun
from training import Task, Tool

QWEN3 = {"layers": 28, "width": 2_048, "heads": 16, "key_value_heads": 8, "feed_forward": 6_144}
SMALL = {"layers": 2, "width": 64, "heads": 2, "key_value_heads": 1, "feed_forward": 128}
NANOCHAT = {"layers": 24, "width": 1_536, "heads": 12, "head": 128, "feed_forward": 0, "vocabulary": 32_768}
VOCABULARY, TITAN_ROWS, NANOCHAT_CONTEXT = 151_936, 4, 2_048


def ours(options: argparse.Namespace, precision: str, compiled: bool, folder: Path) -> dict[str, Any]:
    """Our trainer in a precision: the median of the lines of metrics after the first one, in which it warms up."""
    from openeurollm.engine import Reporter
    from openeurollm.model import distributed, memory, trainer
    from openeurollm.model.data import Batch
    from openeurollm.model.decoder import Decoder
    from openeurollm.model.numerics import choose
    from openeurollm.model.schedule import Schedule
    from openeurollm.model.shape import Shape
    from openeurollm.recipe import Model
    from openeurollm.recipe import Shape as Given

    given = Given(**(SMALL if options.small else QWEN3))
    vocabulary, context = (1_000, 64) if options.small else (VOCABULARY, options.context)
    rows = max(1, options.batch_tokens // context)
    schedule = Schedule.of(rows * options.steps, rows, 0.0, 0.0)
    model = Model(
        shape=given, tied=True, context=context, precision=precision, compile=compiled, recompute=options.recompute
    )
    head = given.width // given.heads
    shape = Shape(vocabulary, **given.model_dump(), head=head, context=context, tied=True)

    def take(first: int, number: int) -> Batch:
        ids = np.random.default_rng(first).integers(0, vocabulary, (number, context + 1))
        return Batch(ids[:, :-1], ids[:, 1:])

    trainer.prepare(os.cpu_count() or 1)
    metrics = folder / f"{precision}-{compiled}.jsonl"
    with distributed.start() as world:
        world = world.lay_out(1, 1, memory.state_bytes(shape))
        decoder = Decoder(shape, 1)
        numerics = choose(model, decoder, schedule.total * context * shape.flop_per_token)
        training = trainer.Training(
            title=f"{precision}, {'compiled' if compiled else 'eager'}",
            take=take,
            schedule=schedule,
            rates=model,
            factor=1.0,
            checkpoint_steps=1 << 30,
            keep_steps=None,
            bytes_of_tokens=np.ones(vocabulary, np.int64),
            numerics=numerics,
            micro=memory.micro(shape, world, model.recompute, numerics.dtype.itemsize),
            fingerprint="random",
        )
        trainer.train(decoder, training, folder / "work", folder / "kept", metrics, Reporter(), world)
    lines = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()][1:]
    speed = statistics.median(line["tokens_per_s"] for line in lines)
    peak = numerics.peak_flop_per_s
    return {
        "tokens_per_s": speed,
        "matmul_ratio": round(speed * shape.flop_per_token / numerics.matmul_flop_per_s, 4),
        "peak_share": round(speed * shape.flop_per_token / peak, 4) if peak else None,
        "parameters": shape.parameters,
        "flop_per_token": shape.flop_per_token,
        "micro": training.micro,
        "numerics": numerics.words,
    }


def nanochat(options: argparse.Namespace, peak: float, folder: Path) -> dict[str, Any]:
    """nanochat's decoder and optimiser, compiled."""
    context, rows = NANOCHAT_CONTEXT, options.nanochat_rows
    shape = NANOCHAT | {"context": context}
    ids = np.random.default_rng(1).integers(0, shape["vocabulary"], (4 * rows, context + 1), dtype=np.uint16)
    np.save(folder / "rows.npy", ids)
    settings = {"folder": str(options.nanochat.resolve())}
    task = Task(
        "speed",
        shape,
        rows,
        str(folder / "rows.npy"),
        "",
        True,
        8,
        warm=10,
        settings=settings,
        device="cuda",
        precision="bf16",
    )
    tool = Tool("nanochat", Path(sys.executable), task, folder)
    try:
        tool.answer()
        told = tool.go(options.steps)
    finally:
        tool.end()
    speed = options.steps * rows * context / told["seconds"]
    return {
        "tokens_per_s": round(speed, 1),
        "peak_share": round(speed * told["flop_per_token"] / peak, 4),
        "parameters": told["parameters"],
        "flop_per_token": told["flop_per_token"],
    }


def torchtitan(options: argparse.Namespace, peak: float, flop_per_token: float, folder: Path) -> dict[str, Any]:
    """torchtitan's Qwen3 1.7B as it configures it, compiled, on the text of its tests; the last speed that it tells."""
    source = options.torchtitan.resolve()
    told = {
        "module": "qwen3",
        "config": "qwen3_1_7b",
        "hf_assets_path": "tests/assets/tokenizer",
        "dataloader.dataset": "c4_test",
        "training.local_batch_size": TITAN_ROWS,
        "training.seq_len": options.context,
        "training.steps": options.steps,
        "dump_folder": folder / "torchtitan",
    }
    arguments = [word for key, value in told.items() for word in (f"--{key}", str(value))]
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "1", "-m", "torchtitan.train"]
    found = subprocess.run(
        [*start, *arguments, "--compile.enable"],
        cwd=source,
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
    )
    lines = found.stdout + found.stderr
    speeds = re.findall(r"tps: (?:\x1b\[\d+m)?([\d,]+)", lines)
    if found.returncode or not speeds:
        last = [line for line in lines.splitlines() if line.strip()] or [f"exit code {found.returncode}"]
        raise CannotRun(last[-1].strip()[:300])
    speed = float(speeds[-1].replace(",", ""))
    return {
        "tokens_per_s": speed,
        "peak_share": round(speed * flop_per_token / peak, 4),
        "flop_per_token": flop_per_token,
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Ours in every precision, and the peers whose source is given."""
    from openeurollm.errors import BadInput, Failure
    from openeurollm.model.numerics import peak

    variants: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for precision in options.precision:
            for compiled in (False, True):
                words = f"{precision} {'compiled' if compiled else 'eager'}"
                try:
                    variants[words] = ours(options, precision, compiled, folder)
                except (BadInput, Failure, RuntimeError) as reason:
                    variants[words] = {"reason": str(reason).splitlines()[0][:300]}
        ran = {words: each for words, each in variants.items() if "reason" not in each}
        best = max(ran.values(), key=lambda each: each["tokens_per_s"], default={"reason": "none of ours ran"})
        peers: dict[str, Any] = {}
        for peer, run in (("nanochat", nanochat), ("torchtitan", torchtitan)):
            limit = peak()
            if getattr(options, peer) is None or limit is None or not ran:
                peers[peer] = {"reason": f"no --{peer} DIR" if limit else "no device whose peak is known"}
                continue
            more = () if peer == "nanochat" else (best["flop_per_token"],)
            try:
                peers[peer] = run(options, limit, *more, folder)
            except (CannotRun, OSError) as reason:
                peers[peer] = {"reason": str(reason)}
    shares = [each["peak_share"] for each in peers.values() if "peak_share" in each]
    ratio = round(best["peak_share"] / max(shares), 3) if shares and best.get("peak_share") else None
    return {"ours": best, "variants": variants, "peers": peers, "ratio": ratio}


def show(found: dict[str, Any]) -> None:
    """All figures as a table for a reader."""
    tools = {f"ours, {words}": each for words, each in found["variants"].items()} | found["peers"]
    for words, each in tools.items():
        if "reason" in each:
            print(f"{words:22}{each['reason']}")
            continue
        share = f"{100 * each['peak_share']:.1f} % of peak" if each["peak_share"] else "peak not known"
        print(f"{words:22}{each['tokens_per_s']:12,.0f} tokens/s   {share}")
    if found["ratio"]:
        print(f"our share of peak is {found['ratio']} times that of the best of the others")


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16", "fp8"), default=["bf16", "fp8"])
    parser.add_argument("--context", type=int, default=4_096)
    parser.add_argument("--batch-tokens", type=int, default=131_072, help="positions of a step")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--recompute", action="store_true", help="activations are computed again for the gradient")
    parser.add_argument("--nanochat", type=Path, metavar="DIR", help="nanochat's source")
    parser.add_argument("--nanochat-rows", type=int, default=16)
    parser.add_argument("--torchtitan", type=Path, metavar="DIR", help="torchtitan's source, with its tests")
    parser.add_argument("--small", action="store_true", help="a small decoder on any device")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available() and not options.small:
        reason = "no CUDA device: nothing measured"
        nothing = json.dumps({"ours": {"reason": reason}, "peers": {}, "ratio": None})
        print(nothing if options.json else f"{reason}; `--small` shows that the program runs")
        return
    found = measure(options)
    print(json.dumps(found, indent=1)) if options.json else show(found)


if __name__ == "__main__":
    main()
