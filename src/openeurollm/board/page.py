"""One static page over any number of runs: no script is needed to read it, and nothing is fetched."""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from openeurollm.board import charts, comparison, curves, headline, numbers
from openeurollm.board.facts import Facts, name_of
from openeurollm.errors import Failure


def page(runs: Sequence[Facts], corpus: str = "", no_corpus: str = "") -> str:
    """The page over `runs`, one section a run, with a comparison at the top where there are several.

    `corpus` is the address of the page of the corpus that lies beside this one; `no_corpus` says why there is none.
    """
    return rendered(
        "page.html",
        runs=[_view(facts) for facts in runs],
        comparison=_comparison(runs) if len(runs) > 1 else [],
        compared=comparison.trainings(runs) if len(runs) > 1 else [],
        compared_by_language=comparison.by_language(runs) if len(runs) > 1 else None,
        corpus=corpus,
        no_corpus=no_corpus,
    )


def rendered(template: str, **values: Any) -> str:
    """A page of the board from its template: one file that fetches nothing and runs no script but its own."""
    style, script = _inline("style"), _inline("script")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    html: str = _templates().get_template(template).render(**values, style=style, script=script, policy=policy)
    return html


def _view(facts: Facts) -> dict[str, Any]:
    """What the template shows of one run beside its facts."""
    return {
        "facts": facts,
        "sentence": headline.sentence(facts),
        "tiles": headline.tiles(facts),
        "interval": headline.interval(facts),
        "training": headline.training(facts),
        "unmeasured": headline.unmeasured(facts),
        "bars": [chart for chart in (charts.text(facts), charts.mixture(facts), charts.tokens(facts)) if chart],
        "bits": charts.bits(facts),
        "fates": charts.fates(facts),
        "curves": {
            model: {
                "loss": curves.loss(facts, model),
                "strips": curves.strips(facts, model),
                "languages": curves.by_language(facts, model),
            }
            for model in facts.training
        },
    }


def _comparison(runs: Sequence[Facts]) -> list[dict[str, Any]]:
    """Bits per byte of every language in every run, the tuned model's where there is one."""
    rows: dict[str, dict[str, Any]] = {}
    for place, facts in enumerate(runs):
        for row in facts.by_language:
            entry = rows.setdefault(row.tag, {"language": row, "values": [None] * len(runs)})
            tuned = row.tuned_bits_per_byte
            entry["values"][place] = tuned if tuned.value is not None else row.base_bits_per_byte
    return list(rows.values())


def _templates() -> Any:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise Failure("the board needs Jinja2: pip install 'openeurollm[board]'") from None
    templates = Environment(
        loader=PackageLoader("openeurollm.board"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    worded = ("count", "short", "decimal", "span", "energy", "scientific", "size")
    templates.filters |= {name: getattr(numbers, name) for name in worded}
    templates.globals |= {"words": numbers, "name_of": name_of, "left": charts.LEFT}
    return templates


def _inline(name: str) -> Any:
    """Our own style or script, which alone is not escaped: what stands between the tags of the file."""
    from markupsafe import Markup

    text = resources.files(__package__).joinpath("templates", f"{name}.html").read_text("utf-8")
    return Markup(text[text.index(">") + 1 : text.rindex("</")])


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
