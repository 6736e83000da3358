"""The report: every number of a run in Markdown, fit to be published."""

import re
from collections.abc import Callable

import pytest
from fake_run import REASON, TAGS, corpus, write

from openeurollm.board import report
from openeurollm.languages import languages
from openeurollm.ledger import RunFolder, read_json, write_json


def test_the_report_tells_of_every_language(run: RunFolder) -> None:
    text = report(run)
    for tag in TAGS:
        assert re.search(rf"^\| {re.escape(languages()[tag].name)} \({tag}\) \|", text, re.MULTILINE)
    assert (
        "| Bulgarian (bg) | 119 | 13 | 92 | 25.8 | 29,000 | 4.93 | 28.5 | 1.64 (1.57–1.72) | 1.56 (1.50–1.64) |" in text
    )
    assert "| Montenegrin (cnr) | 0 | 0 | 0 | 0.0 | – | – | 30.1 | – | – | – | – | – |" in text
    assert f"- Montenegrin (cnr): {REASON}" in text


def test_the_report_tells_of_documents_training_checks_and_costs(run: RunFolder) -> None:
    text = report(run).replace("\N{NO-BREAK SPACE}", " ")
    assert "16,915 documents were read and 9,807 kept" in text
    assert "| too short | 1,340 |" in text
    assert "Personal data masked: email 7, ip 2, phone 1." in text
    assert "| base | 300 | 1,228,800 | 4.01 | 1.34 | 1.00 | 10,000 | 61.0 % | – |" in text
    assert "In the training of the base model: skipped 2, rolled back 1." in text
    assert "- step 211: rolled back: three steps skipped in a row" in text
    assert "| language | 0 tokens | 348,160 tokens | 700,416 tokens | 876,544 tokens | 1,228,800 tokens |" in text
    assert "| Maltese (mt) | 3.35 | 1.82 | 1.45 | 1.39 | 1.34 |" in text
    assert "- –: no held-out text of this language was measured during the training" in text
    assert "no held-out document is in the training text: holds (documents: 812, overlapping: 0)" in text
    assert "| model | 5 min 12 s | 9 min 22 s | 0.00 | 2.6 Wh | 0.87 Wh – 7.8 Wh |" in text
    assert "Energy by: CodeCarbon, this process: rated power." in text
    assert "Machine: A processor, 2 cores, 8 GB memory" in text
    assert "`openeurollm report RUN`" in text


def test_every_table_has_as_many_cells_in_each_row(run: RunFolder) -> None:
    widths: list[int] = []
    for line in report(run).splitlines():
        if not line.startswith("|"):
            widths = []
            continue
        widths.append(len(re.findall(r"(?<!\\)\|", line)))
        assert len(set(widths)) == 1, line


def test_a_run_is_held_against_others_language_by_language(fake: Callable[..., RunFolder]) -> None:
    run, before, half = fake(), fake(name="before"), fake("corpus", name="half")
    place = before.folder("evaluation") / "results.json"
    told = read_json(place)
    bits = told["models"][0]["measures"]["bits_per_byte"]
    for tag, off in (("bg", 0.25), ("mt", -0.5)):
        bits[tag] |= {key: value + off for key, value in bits[tag].items() if isinstance(value, float)}
    write_json(place, told)
    counts, results = corpus()
    counts["mt"]["held_out"] += 1
    write(before, "corpus", 41.0, {}, counts=counts, results=results)
    text = report(run, [before, half]).replace("\N{NO-BREAK SPACE}", " ")
    assert "| language | this run | (1) before | (2) half | off (1) | off (2) |" in text
    assert re.search(r"^\| Bulgarian \(bg\) \| 1\.\d{3} \| 1\.\d{3} \| – \| -0\.250 \| – \|$", text, re.MULTILINE)
    assert "| Montenegrin (cnr) | – | – | – | – | – |" in text
    lower = "- Lower than in (1) before in 1 of the 42 languages that both measure, and in the mean 0.006 higher."
    assert lower in text
    assert "- No language is measured in this run and in (2) half." in text
    assert "- Not as many documents are held out in (1) before: Maltese (mt)." in text
    assert "- As many documents are held out in (2) half, in each language." in text
    assert re.search(r"^\| \(1\) before \| [\d,]+ \| [\d,]+ \| .* \| 5 min 12 s \|$", text, re.MULTILINE)
    assert "| (2) half | – | – | – | – |" in text
    assert "`openeurollm report RUN --beside before --beside half`" in text


@pytest.mark.parametrize("until", ["recipe", "corpus", "tokenizer", "model", "tuning", "evaluation"])
def test_a_half_built_run_has_a_report(fake: Callable[..., RunFolder], until: str) -> None:
    text = report(fake(until))
    assert "not built" in text
    assert "| release | missing |" in text


@pytest.mark.parametrize(
    "path",
    [
        "/home/someone/web.warc.gz",
        "~/corpora/web.warc.gz",
        r"C:\Users\someone\web.warc.gz",
        "file:///home/someone/x",
        "disk:/home/someone/x",
    ],
)
def test_the_report_names_no_path_and_no_machine(run: RunFolder, path: str) -> None:
    counts, results = corpus()
    results["sources"]["web"]["obtained"] = f"copied from {path}, then unpacked"
    results["sources"]["web"]["publisher"] = "see https://example.org/terms/of/use"
    write(run, "corpus", 41.0, {}, counts=counts, results=results)
    text = report(run)
    assert "someone" not in text
    assert "web.warc.gz" not in text
    assert "copied from" in text
    assert "then unpacked" in text
    assert "https://example.org/terms/of/use" in text
    assert "secret-host" not in text
    assert str(run.path.parent) not in text


def test_text_of_records_is_never_markdown(run: RunFolder) -> None:
    counts, results = corpus()
    results["sources"] = {
        "web": {
            "kind": "warc",
            "licence": "a | b",
            "publisher": "<script>alert(1)</script>",
            "obtained": "[here](https://example.org)\n# heading",
        }
    }
    write(run, "corpus", 41.0, {}, counts=counts, results=results)
    text = report(run)
    assert "<script" not in text.replace(r"\<", "")
    assert r"a \| b" in text
    assert r"\[here\](https://example.org) \# heading" in text
