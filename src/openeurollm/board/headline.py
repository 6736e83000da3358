"""What a run made, in one sentence and its few main numbers."""

from dataclasses import dataclass

from openeurollm.board import numbers
from openeurollm.board.facts import Facts


@dataclass(frozen=True)
class Tile:
    """One of the main numbers; `value` is empty where there is none, and `note` then says why."""

    label: str
    value: str
    note: str


def sentence(facts: Facts) -> str:
    """The run in one sentence, also where it is half built."""
    missing = [stage.name for stage in facts.stages if stage.wall_seconds is None]
    if len(missing) == len(facts.stages):
        return f"Nothing of this run is built yet; it promises a language model for {_languages(facts)}."
    if facts.parameters is None:
        return f"So far this run {_so_far(facts)}; {_list(missing)} {_is(missing)} not built yet."
    made = (
        f"This run made a language model of {numbers.short(facts.parameters)} parameters for {_languages(facts)}"
        f"{_trained(facts)}, in {numbers.span(3600 * facts.hours)}{_energy(facts)}"
    )
    return f"{made}; {_list(missing)} {_is(missing)} not built yet." if missing else f"{made}."


def tiles(facts: Facts) -> list[Tile]:
    """The main numbers: languages, documents, text, parameters, tokens, time, energy."""
    served, kept, size = facts.served, facts.documents_kept, facts.text_bytes
    no_corpus, no_model, nothing = "the corpus is not built", "the model is not built", "no stage is built"
    built = any(stage.wall_seconds is not None for stage in facts.stages)
    return [
        Tile("languages with text", str(served) if served is not None else "", f"of {facts.languages} promised"),
        Tile(
            "documents kept",
            numbers.short(kept) if kept is not None else "",
            f"of {numbers.short(facts.documents_read)} read" if facts.documents_read is not None else no_corpus,
        ),
        Tile(
            "training text", numbers.size(size) if size is not None else "", "UTF-8" if size is not None else no_corpus
        ),
        Tile(
            "parameters",
            numbers.short(facts.parameters) if facts.parameters is not None else "",
            _vocabulary(facts) if facts.parameters is not None else no_model,
        ),
        Tile(
            "tokens trained on",
            numbers.short(facts.training_tokens) if facts.training_tokens is not None else "",
            "repeats counted" if facts.training_tokens is not None else no_model,
        ),
        Tile("time", numbers.span(3600 * facts.hours) if built else "", "wall clock" if built else nothing),
        Tile(
            "energy",
            numbers.energy(facts.kwh) if facts.kwh is not None else "",
            interval(facts) or ("not measured" if built else nothing),
        ),
    ]


def training(facts: Facts) -> str:
    """What the training of the base model took, and how it was computed; empty where that is not known."""
    if facts.flop is None:
        return ""
    processes = facts.processes or 0
    shared = facts.layout.get("shard", 1)
    parts = (
        f"Training took {numbers.scientific(facts.flop)} floating-point operations",
        f"in {facts.precision}" if facts.precision else "",
        "compiled" if facts.compiled else "",
        f"by {numbers.count(processes)} process{'' if processes == 1 else 'es'}" if processes else "",
        f"groups of {shared} of which share the weights" if isinstance(shared, int) and shared > 1 else "",
    )
    return f"{', '.join(filter(None, parts))}."


def interval(facts: Facts) -> str:
    """Between what bounds the energy lies, in words; empty where none was measured."""
    if facts.kwh_low is None or facts.kwh_high is None:
        return ""
    return f"{numbers.energy(facts.kwh_low)} to {numbers.energy(facts.kwh_high)}"


def unmeasured(facts: Facts) -> list[str]:
    """Stages that are built and whose energy is not known, so that the total is without them."""
    return [stage.name for stage in facts.stages if stage.wall_seconds is not None and stage.kwh is None]


def _languages(facts: Facts) -> str:
    if facts.served is None or facts.served == facts.languages:
        return f"{facts.languages} languages"
    return f"{facts.served} of the {facts.languages} languages it promises"


def _so_far(facts: Facts) -> str:
    if facts.documents_kept is None or facts.text_bytes is None:
        built = [stage.name for stage in facts.stages if stage.wall_seconds is not None]
        return f"built its {_list(built)}"
    kept = (
        f"kept {numbers.count(facts.documents_kept)} documents with {numbers.size(facts.text_bytes)} of training text"
    )
    return f"{kept} in {_languages(facts)}"


def _trained(facts: Facts) -> str:
    if facts.training_tokens is None:
        return ""
    text = f" from {numbers.size(facts.text_bytes)} of text" if facts.text_bytes is not None else ""
    return f", trained on {numbers.short(facts.training_tokens)} tokens{text}"


def _energy(facts: Facts) -> str:
    return f" and {numbers.energy(facts.kwh)} of energy ({interval(facts)})" if facts.kwh is not None else ""


def _vocabulary(facts: Facts) -> str:
    return (
        f"vocabulary of {numbers.count(facts.vocabulary)}" if facts.vocabulary is not None else "weights of the model"
    )


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
