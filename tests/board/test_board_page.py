"""The page: what it shows, that it is one safe file, and that half-built and broken runs are told of."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fake_run import GAP, REASON, SERVED, TAGS, corpus, fairness, held_out, measures, metrics, model, write

from openeurollm.board import build, facts, page
from openeurollm.engine import Engine
from openeurollm.errors import BadInput
from openeurollm.languages import languages
from openeurollm.ledger import RunFolder, read_json, write_json
from openeurollm.recipe import load

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>{{ 7 * 7 }}\u202e'


class Parsed(HTMLParser):
    """Elements with their attributes, and the words outside of styles and scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._inside = "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("style", "script"):
            self.text += data

    def values(self, attribute: str) -> list[str]:
        return [str(found[attribute]) for _, found in self.elements if attribute in found]


def words(html: str) -> str:
    return re.sub(r"\s+", " ", Parsed(html).text.replace("\N{NO-BREAK SPACE}", " "))


def built(run: RunFolder) -> str:
    build(load(run.path / "recipe.toml"), run, Engine(workers=1))
    return (run.folder("board") / "index.html").read_text("utf-8")


def test_the_page_says_what_the_run_made(run: RunFolder) -> None:
    text = words(built(run))
    assert (
        "This run made a language model of 3.41 million parameters for 42 of the 43 languages it promises, "
        "trained on 1.23 million tokens from 1.97 MB of text, in 8 min 08 s and 4.06 Wh of energy "
        "(1.35 Wh to 12.2 Wh)." in text
    )


def test_the_table_holds_the_numbers_of_every_language(run: RunFolder) -> None:
    html = built(run)
    counts, results = corpus()
    tuned = measures(0.95, True)
    rows = {row.split("</code>")[0].rpartition(">")[2]: row for row in html.split('<th scope="row">')}
    for tag in SERVED:
        row = rows[tag]
        bits = tuned["bits_per_byte"][tag]
        assert f'lang="{tag}" dir="auto">{languages()[tag].autonym}<' in html
        assert f">{counts[tag]['kept']:,}<" in html
        assert f"{results['text'][tag]['bytes'] / 1000:,.1f}" in html
        assert f"{bits['value']:.2f}<small>{bits['low']:.2f}–{bits['high']:.2f}" in html
        assert row
    assert f"{fairness()['tokenizers'][0]['mean']:.1f}" in html


def test_a_blank_has_its_reason_on_hover_and_in_a_note(run: RunFolder) -> None:
    parsed = Parsed(built(run))
    blanks = [found for tag, found in parsed.elements if tag == "td" and "blank" in (found.get("class") or "")]
    assert {str(found["title"]) for found in blanks} == {
        f"gap: {REASON}",
        "the identifier does not know the answers' language",
    }
    ids = set(parsed.values("id"))
    notes = [href for href in parsed.values("href") if "-note" in href]
    assert len(notes) == len(blanks) > 0
    assert all(href.removeprefix("#") in ids for href in notes)
    assert f"{languages()[GAP].name} {GAP}: {REASON}" in words(built(run))


def test_the_json_holds_the_numbers(run: RunFolder) -> None:
    built(run)
    found = read_json(run.folder("board") / "index.json")
    assert found["served"] == 42
    assert [row["tag"] for row in found["by_language"]] == list(TAGS)
    gap = found["by_language"][TAGS.index(GAP)]
    assert gap["base_bits_per_byte"] == {"value": None, "low": None, "high": None, "why": f"gap: {REASON}"}
    assert found["documents_read"] == sum(corpus()[1]["read"].values())
    assert len(found["training"]["base"]["steps"]) == 300
    assert [each["step"] for each in found["training"]["base"]["held_out"]] == [300 * place // 7 for place in range(8)]
    assert found["training"]["base"]["counted"] == {"skipped": 2, "rolled_back": 1}
    learnt = {row["tag"]: row for row in found["learnt"]["base"]}
    assert list(learnt) == list(TAGS)
    assert learnt["mt"]["first"]["value"] > learnt["mt"]["last"]["value"] > 0
    assert learnt[GAP]["last"] == {"value": None, "low": None, "high": None, "why": f"gap: {REASON}"}
    assert sum(stage["wall_seconds"] for stage in found["stages"]) == pytest.approx(487.7)


def test_the_same_records_give_the_same_bytes(run: RunFolder) -> None:
    assert built(run) == built(run)


def test_the_page_fetches_nothing_and_runs_only_its_own_script(run: RunFolder) -> None:
    html = built(run)
    parsed = Parsed(html)
    assert "src" not in {name for _, found in parsed.elements for name in found}
    assert all(href.startswith("#") or href == "data:," for href in parsed.values("href"))
    assert not [name for _, found in parsed.elements for name in found if name.startswith("on") or name == "style"]
    policy = next(str(found["content"]) for _, found in parsed.elements if "http-equiv" in found)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for element in ("style", "script"):
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy


def test_every_chart_has_a_title_a_description_and_numbers_in_a_table(run: RunFolder) -> None:
    html = built(run)
    charts = re.findall(r'<svg class="chart".*?</desc>', html, re.DOTALL)
    assert len(charts) == 11  # text, mixture, tokens, bits, documents; and of two trainings loss, rate and speed
    for chart in charts:
        assert re.search(
            r'role="img".*?<title id="[^"]+">[^<]+</title>\s*<desc id="[^"]+">[^<]+</desc>', chart, re.DOTALL
        )
    assert html.count("The curve as a table") == 2
    assert html.count("The curves as a table") == 1
    assert "The same as a table, with every reason" in html


def test_the_chart_of_shares_says_how_often_each_text_was_read(run: RunFolder) -> None:
    html = built(run)
    mixture = model()["mixture"]
    for tag in SERVED:
        share, epochs = 100 * mixture[tag]["share"], mixture[tag]["epochs"]
        name = languages()[tag].name
        assert f"<title>{name}: {share:.1f}\N{NO-BREAK SPACE}%, its text read {epochs:.1f} times</title>" in html
        assert f"{share:.1f}\N{NO-BREAK SPACE}% · {epochs:.1f}×</text>" in html


def test_ids_are_unique_also_with_several_runs(fake: Callable[..., RunFolder]) -> None:
    html = page([facts(fake()), facts(fake(name="other")), facts(fake("corpus", "half"))])
    ids = Parsed(html).values("id")
    assert len(ids) == len(set(ids))
    labels = " ".join(Parsed(html).values("aria-labelledby")).split()
    assert set(labels) <= set(ids)


def test_several_runs_are_compared_at_the_top(fake: Callable[..., RunFolder]) -> None:
    html = page([facts(fake()), facts(fake("corpus", "half"))])
    text = words(html)
    assert "Board of 2 runs" in text
    assert text.index("The runs side by side") < text.index("This run made") < text.index("So far this run kept")
    assert "side by side" not in words(page([facts(fake(name="alone"))]))


def test_trainings_are_compared_over_tokens_operations_and_time(fake: Callable[..., RunFolder]) -> None:
    slower, fewer = fake(name="slower"), fake(name="fewer")
    path = slower.folder("model") / "metrics.jsonl"
    kept = [line for line in metrics("model") if "held_out" not in line]
    lines = sorted([*kept, *held_out(300, 2.0)], key=lambda line: line["step"])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    path = fewer.folder("model") / "metrics.jsonl"
    path.write_text(path.read_text("utf-8").replace('"mt":', '"xx":'), "utf-8")
    html = page([facts(run) for run in (fake(), slower, fewer, fake("corpus", "half"))])
    text = words(html)
    assert text.count("Mean over the 40 languages whose held-out text all of them measured.") == 6  # seen and spoken
    assert text.count("Without a curve: half.") == 12
    assert html.count('name="across"') == 3
    for unit in ("tokens", "floating-point operations", "seconds of training"):
        assert len(re.findall(rf'<text class="tick"[^>]*>[^<]*{unit}</text>', html)) >= 2
    (small, *_) = re.findall(r'<ul class="multiples">(.*?)</ul>', html, re.DOTALL)
    assert re.search(r'aria-label="Maltese, at the end: fake [\d.]+, slower [\d.]+"', small)
    assert re.search(r'aria-label="Greek, at the end: fake [\d.]+, slower [\d.]+, fewer [\d.]+"', small)
    assert "measured in no run" in small


@pytest.mark.parametrize(
    ("until", "said", "missing"),
    [
        ("recipe", "Nothing of this run is built yet; it promises a language model for 43 languages.", "corpus"),
        ("corpus", "tokenizer, model, tuning, evaluation and release are not built yet.", "tokenizer"),
        ("tokenizer", "model, tuning, evaluation and release are not built yet.", "model"),
        ("model", "tuning, evaluation and release are not built yet.", "evaluation"),
        ("tuning", "evaluation and release are not built yet.", "evaluation"),
        ("evaluation", "release is not built yet.", ""),
    ],
)
def test_a_half_built_run_says_what_is_missing(
    fake: Callable[..., RunFolder], until: str, said: str, missing: str
) -> None:
    text = words(built(fake(until)))
    assert said in text
    assert (f"the {missing} is not built" in text) == bool(missing)
    if missing:
        assert f"the stage {missing} is not built" in text


def test_a_stage_that_was_stopped_and_one_built_on_other_files_are_told_apart(
    fake: Callable[..., RunFolder],
) -> None:
    run = fake("model")
    (run.work("tuning")).mkdir(parents=True)
    (run.work("tuning") / "key").write_text("0", "utf-8")
    write(run, "tokenizer", 1.0, {"stage/corpus": "f" * 64})
    states = {stage.name: stage.state for stage in facts(run).stages}
    assert states["tuning"] == "unfinished"
    assert states["tokenizer"] == "out of date: corpus has changed since"
    assert states["model"] == "built"


def test_energy_that_was_not_measured_is_not_a_zero(run: RunFolder) -> None:
    path = run.folder("corpus") / "record.json"
    record = read_json(path)
    energy = {"kwh": 0.0, "low": 0.0, "high": 0.0, "method": "not measured: the package codecarbon is not installed"}
    record["openeurollm"]["cost"]["energy"] = energy
    write_json(path, record)
    text = words(built(run))
    assert "The energy of corpus was not measured; the total is without it." in text
    assert "energy not measured" in text
    assert " 0 Wh" not in text


def test_training_that_ran_away_is_shown(run: RunFolder) -> None:
    path = run.folder("model") / "metrics.jsonl"
    line = {"step": 301, "loss": float("nan"), "bits_per_byte": float("inf"), "tokens": 1_232_896}
    path.write_text(path.read_text("utf-8") + json.dumps(line) + "\n", "utf-8")
    built(run)
    last = read_json(run.folder("board") / "index.json")["training"]["base"]["steps"][-1]
    assert last["loss"] is None
    assert last["tokens"] == 1_232_896


def test_the_page_says_how_the_training_was_computed(run: RunFolder) -> None:
    said = "operations, in bf16, compiled, by 8 processes, groups of 4 of which share the weights."
    assert f"Training took 3.0 × 10¹³ floating-point {said}" in words(built(run))
    path = run.folder("model") / "record.json"
    record = read_json(path)
    for name in ("precision", "compiled", "processes", "layout"):
        del record["openeurollm"]["results"][name]
    write_json(path, record)
    assert "Training took 3.0 × 10¹³ floating-point operations." in words(built(run))


def test_every_language_has_a_curve_or_the_reason_why_not(run: RunFolder) -> None:
    html = built(run)
    (small,) = re.findall(r'<ul class="multiples">(.*?)</ul>', html, re.DOTALL)
    charts = {part.partition("<code>")[2].partition("<")[0]: part for part in small.split("</li>")[1:-1]}
    assert list(charts) == list(TAGS)
    for tag in SERVED:
        if tag != "az":
            assert f'aria-label="Bits per byte of {languages()[tag].name}: from ' in charts[tag]
            assert charts[tag].count("<path") == 2
    assert f"gap: {REASON}" in charts[GAP]
    assert "no held-out text of this language was measured during the training" in charts["az"]
    assert "<svg" not in charts[GAP] + charts["az"]


def test_steps_that_were_skipped_are_marked_and_told(run: RunFolder) -> None:
    html = built(run)
    assert html.count('<g class="event skipped"><title>') == 2
    assert html.count('<g class="event rolled_back"><title>') == 1
    text = words(html)
    assert "step skipped, 2×" in text
    assert re.search("211 864,256 rolled back ?three steps skipped in a row", text)


def test_a_training_under_way_is_shown_as_far_as_it_has_come(fake: Callable[..., RunFolder]) -> None:
    run = fake("model")
    (run.folder("model") / "record.json").unlink()
    text = words(page([facts(run)]))
    assert "The training of the base model is not over" in text
    assert "The base model learns" in text
    assert "the stage model is not built" not in text


def test_a_training_without_held_out_text_says_so(run: RunFolder) -> None:
    path = run.folder("model") / "metrics.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "held_out" not in line), "utf-8")
    html = built(run)
    assert "This training measured no held-out text on its way" in html
    assert '<ul class="multiples">' not in html


def test_a_training_that_has_not_begun_has_no_curve(run: RunFolder) -> None:
    (run.folder("model") / "metrics.jsonl").write_text("", "utf-8")
    assert "No step of the base model's training is told of yet." in words(built(run))


def test_text_of_records_is_never_markup(run: RunFolder) -> None:
    _make_hostile(run)
    html = built(run)
    parsed = Parsed(html)
    assert "img" not in {tag for tag, _ in parsed.elements}
    assert [tag for tag, _ in parsed.elements].count("script") == 1
    assert not [name for _, found in parsed.elements for name in found if name.startswith("on")]
    assert parsed.text.count("alert(1)") >= 20
    assert "49" not in re.findall(r"</script>(\d+)", parsed.text)


def _make_hostile(run: RunFolder) -> None:
    """Put markup wherever a record holds text that the page shows."""
    counts, results = corpus()
    counts[HOSTILE] = {HOSTILE: 5}
    results["masked"] = {HOSTILE: {HOSTILE: 3}}
    results["licences"] = {"bg": {HOSTILE: 2}}
    results["sources"] = {HOSTILE: dict.fromkeys(("kind", "licence", "publisher", "obtained"), HOSTILE)}
    write(run, "corpus", 1.0, {}, counts=counts, results=results, site=HOSTILE)
    path = run.folder("corpus") / "record.json"
    record = read_json(path)
    record["openeurollm"]["cost"]["energy"]["method"] = HOSTILE
    record["openeurollm"]["host"]["processor"] = HOSTILE
    record["predicate"]["runDetails"]["metadata"]["finishedOn"] = HOSTILE
    write_json(path, record)
    tokenizers = fairness()
    tokenizers["tokenizers"][0] |= {"name": HOSTILE, "worst_language": HOSTILE}
    write_json(run.folder("tokenizer") / "fairness.json", tokenizers)
    path = run.folder("model") / "record.json"
    record = read_json(path)
    record["openeurollm"]["results"]["shape"] = {HOSTILE: HOSTILE}
    write_json(path, record)
    path = run.folder("model") / "metrics.jsonl"
    lines: list[dict[str, Any]] = [{"step": 7, "event": "skipped", "reason": HOSTILE}]
    lines.append({"step": 300, "tokens": 1_228_800, "held_out": {HOSTILE: 1.0, "mt": 2.0}})
    path.write_text(path.read_text("utf-8") + "".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    path = run.folder("evaluation") / "results.json"
    found = read_json(path)
    found["checks"] = {HOSTILE: {HOSTILE: HOSTILE}}
    write_json(path, found)
    path = run.folder("evaluation") / "coverage.json"
    covered = read_json(path)
    covered["language_consistency"]["az"] = HOSTILE
    write_json(path, covered)
    path = run.path / "recipe.toml"
    path.write_text(path.read_text("utf-8").replace(json.dumps(REASON), json.dumps(HOSTILE)), "utf-8")
    recipe = path.read_text("utf-8").replace('title = "A fake run"', f"title = {json.dumps(HOSTILE)}")
    path.write_text(recipe, "utf-8")


def _edited(run: RunFolder, name: str, *way: Any) -> Path:
    """Put the last of `way` at the place in the JSON file that the others lead to."""
    path = run.path / name
    value = read_json(path)
    place = value
    for step in way[:-2]:
        place = place[step]
    place[way[-2]] = way[-1]
    path.write_text(json.dumps(value), "utf-8")
    return path


RECORD = "corpus/record.json"


@pytest.mark.parametrize(
    ("name", "way"),
    [
        (RECORD, ("openeurollm", "counts", "bg", "kept", -1)),
        (RECORD, ("openeurollm", "counts", "bg", "kept", 10**40)),
        (RECORD, ("openeurollm", "counts", "bg", "kept", "many")),
        (RECORD, ("openeurollm", "counts", [])),
        (RECORD, ("openeurollm", "counts", "\ud800", {"kept": 1})),
        (RECORD, ("openeurollm", "results", "text", "bg", "bytes", 1.5)),
        (RECORD, ("openeurollm", "results", "sources", "web", "publisher", "\ud800")),
        (RECORD, ("openeurollm", "cost", "wall_seconds", float("nan"))),
        (RECORD, ("openeurollm", "host", "cores", "two")),
        (RECORD, ("predicate", "buildDefinition", "buildType", "urn:openeurollm:stage:model")),
        (RECORD, ("predicate", {})),
        ("model/record.json", ("openeurollm", "results", "mixture", "bg", "share", float("inf"))),
        ("tokenizer/fairness.json", ("tokenizers", [])),
        ("tokenizer/fairness.json", ("tokenizers", 0, "mean", None)),
        ("evaluation/results.json", ("models", 0, "measures", "bits_per_byte", "bg", "value", float("nan"))),
        ("evaluation/coverage.json", ("bits_per_byte", ["bg"])),
    ],
)
def test_a_broken_record_is_refused_by_name(run: RunFolder, name: str, way: tuple[Any, ...]) -> None:
    path = _edited(run, name, *way)
    with pytest.raises(BadInput, match=re.escape(str(path))):
        facts(run)


@pytest.mark.parametrize("name", [RECORD, "evaluation/results.json", "model/metrics.jsonl", "recipe.toml"])
@pytest.mark.parametrize("content", [b"{\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"[]\n", b"7\n"])
def test_a_broken_file_is_refused_by_name(run: RunFolder, name: str, content: bytes) -> None:
    (run.path / name).write_bytes(content)
    with pytest.raises(BadInput, match=re.escape(str(run.path / name))):
        facts(run)


def test_a_file_of_numbers_that_is_gone_is_refused_by_name(run: RunFolder) -> None:
    (run.folder("evaluation") / "results.json").unlink()
    with pytest.raises(BadInput, match=r"results\.json"):
        facts(run)


def test_costs_may_be_all_that_a_record_holds(fake: Callable[..., RunFolder]) -> None:
    run = fake("recipe")
    write(run, "corpus", 1.0, {})
    assert "kept 0 documents" in words(built(run))
