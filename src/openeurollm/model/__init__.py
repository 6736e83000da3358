"""The base model: a decoder trained on the corpus, in the mixture and to the budget of the recipe."""

from typing import Any

from openeurollm.engine import Engine
from openeurollm.ledger import Counts, RunFolder
from openeurollm.model import distributed, mixture, pretraining
from openeurollm.model.checkpoint import FOLDER, steps_in
from openeurollm.model.distributed import World
from openeurollm.recipe import Recipe, falls, prove

__all__ = ["build"]


def build(recipe: Recipe, run: RunFolder, engine: Engine) -> tuple[Counts, dict[str, Any]]:
    """Plan the training, train, and write `base/` as a Hugging Face folder.

    Raises `Failure` before the training where the mixture has nothing of a language of the contract, or a language's
    share of it fell too far, `BadInput` where the processes cannot share the weights, and `Stopped` where it is asked
    to stop. Over several processes all of them call it; the first one writes the files, and all return the same.
    """
    with distributed.start() as world:
        return _build(recipe, run, engine, world)


def _build(recipe: Recipe, run: RunFolder, engine: Engine, world: World) -> tuple[Counts, dict[str, Any]]:
    plan = pretraining.plan(recipe, run)
    sizes = {tag: round(epochs * plan.text_bytes[tag]) for tag, epochs in plan.epochs.items()}
    share = mixture.shares(sizes, 1.0, {})
    proof = prove(recipe, "model", {"text in the mixture": sizes})
    proof["exceptions"] |= falls(recipe, run, share)
    told = pretraining.pretrain(plan, run, engine, world, run.folder("model"), run.work("model"))
    documents = {tag: text.documents for tag, text in plan.texts.items()}
    counts = {tag: {"encoded": number} for tag, number in documents.items()}
    return counts, {
        "shape": plan.shape.asdict(),
        "parameters": plan.shape.parameters,
        "steps": plan.schedule.steps,
        "flop": plan.flop,
        "flop_per_token": plan.shape.flop_per_token,
        "filled": round(plan.rows.filled, 5),
        **told,
        "law": {"bits_per_byte": dict(zip(plan.predicted._fields, plan.predicted, strict=True))},
        "checkpoints": steps_in(run.folder("model") / FOLDER),
        "mixture": {
            tag: {
                "share": round(share[tag], 5),
                "bytes": sizes[tag],
                "tokens": plan.rows.trained[tag],
                "epochs": round(epochs, 3),
            }
            for tag, epochs in plan.epochs.items()
        },
        "contract": proof,
    }
