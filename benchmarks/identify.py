"""Measure language identification: ours against py3langid, pycld2 and heliport, on the same text in one run.

    python benchmarks/identify.py --text DIR [--json] [--only NAME,…]

DIR holds one file a language, one sentence a line, named by language tag (`bg.txt`, `sr-Latn.txt`) or as NTREX-128
names them (`newstest2019-ref.bul.txt`). A document is ten lines in a row, a long document two hundred. F1 and shares
are in [0, 1] with --json and in per cent in the table. Files of languages outside the contract show how often a tool
answers with a language of the contract where none is right; the rest is `rejected`.

Every tool runs in fresh processes of its own, one after another, on one thread: three to measure its start and its
memory, one to answer. Peers are installed on first use, each into a virtual environment of its own under
`.cache/benchmarks/` (heliport is GPL-3: nothing of it is loaded into our process). The worker side of this file runs
there and so needs nothing but Python's own library.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "benchmarks"
EU = ("bg", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "ga", "hr")
EU += ("hu", "it", "lt", "lv", "mt", "nl", "pl", "pt", "ro", "sk", "sl", "sv")
LABELS = (*EU, "bs", "ka", "mk", "sq", "sr", "tr", "uk", "ca", "cy", "eu", "gl", "is", "lb", "nb", "nn")
"""What is scored. Serbian is one label here, in both scripts, as no peer tells the two apart."""
DOCUMENT, LONG = 10, 200
"""Lines."""
STARTS = 3
TIMED = ("documents", "long documents")
ENOUGH_CPU_S = 1.0
"""What is timed is answered again and again until this much is measured."""
BATCH = 256
"""Texts that ours is given in one call."""

Identify = Callable[[list[str]], list[str]]


def load_ours() -> Identify:
    from openeurollm.languages import identify_batch

    def answer(texts: list[str]) -> list[str]:
        batches = (texts[start : start + BATCH] for start in range(0, len(texts), BATCH))
        return [found.language for batch in batches for found in identify_batch(batch)]

    return answer


def load_py3langid() -> Identify:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return lambda texts: [model.classify(text)[0] for text in texts]


def load_pycld2() -> Identify:
    import pycld2

    def best(text: str) -> str:
        return pycld2.detect(text, isPlainText=True, bestEffort=True)[2][0][1]

    def answer(text: str) -> str:
        try:
            return best(text)
        except pycld2.error:  # it refuses text with control characters: so without them
            return best("".join(letter for letter in text if letter.isprintable() or letter == "\n"))

    return lambda texts: [answer(text) for text in texts]


def load_heliport() -> Identify:
    from heliport import Identifier

    model = Identifier()
    return lambda texts: [model.identify(text) for text in texts]


@dataclass(frozen=True)
class Tool:
    """A tool by `name`: how it is loaded in its worker, and for a peer what to install."""

    name: str
    load: Callable[[], Identify]
    requirement: str | None = None


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("ours", load_ours),
        Tool("py3langid", load_py3langid, "py3langid==0.4.0"),
        Tool("pycld2", load_pycld2, "pycld2==0.42"),
        Tool("heliport", load_heliport, "heliport==1.0.1"),
    )
}


# The worker: runs in the tool's own environment and prints JSON lines.


def work_start(tool: Tool, texts: list[str]) -> None:
    """Seconds from before the import to the first answer, and the memory after all of the few `texts`."""
    started = time.perf_counter()
    identify = tool.load()
    identify(texts[:1])
    first_answer_s = time.perf_counter() - started
    identify(texts)
    print(json.dumps({"first_answer_s": first_answer_s, "memory_mb": peak_memory_mb()}))


def peak_memory_mb() -> float:
    """Peak resident memory of this process, in MB of 10⁶ bytes.

    `ru_maxrss` is the second choice: on Linux it starts from the memory of the process that started this one.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def work_answer(tool: Tool, texts: dict[str, list[str]]) -> None:
    """A line a kind of text: what the tool answers, how many bytes it read, and the CPU seconds of the calls alone."""
    identify = tool.load()
    for kind, some in texts.items():
        size = sum(len(text.encode()) for text in some)
        answers: list[str] = []
        read, cpu_s = 0, 0.0
        while some and (not read or (kind in TIMED and cpu_s < ENOUGH_CPU_S)):
            started = time.process_time()
            answers = identify(some)
            cpu_s += time.process_time() - started
            read += size
        print(json.dumps({"kind": kind, "answers": answers, "bytes": read, "cpu_s": cpu_s}))


# The parent: reads the text, starts the workers, scores.


class CannotRun(Exception):
    """Why a tool gives no figures."""


def fail(message: str) -> NoReturn:
    print(f"identify: {message}", file=sys.stderr)
    sys.exit(2)


@dataclass
class Text:
    """Lines by tag, each under one of three heads, and the names of the files that are left out."""

    scored: dict[str, list[str]] = field(default_factory=dict)
    others: dict[str, list[str]] = field(default_factory=dict)
    unscored: list[str] = field(default_factory=list)
    second: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def read(folder: Path) -> Text:
    """The text in `folder`; of several files of a language (`por`, `por-BR`) the one with the shortest name."""
    from openeurollm.languages import languages

    if not folder.is_dir():
        fail(f"{folder} is no folder; --text takes a folder with one file a language")
    text, seen = Text(), set()
    for path in sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name)):
        tag = file_tag(path)
        lines = read_lines(path) if tag else []
        if not tag or not lines:
            text.ignored.append(path.name)
        elif tag in seen:
            text.second.append(path.name)
        elif pooled(tag) in LABELS:
            text.scored[tag] = lines
        elif tag in languages():
            text.unscored.append(tag)
        else:
            text.others[tag] = lines
        if lines:
            seen.add(tag)
    if not text.scored:
        fail(f"{folder} has no text of a language that is scored; name files like bg.txt or newstest2019-ref.bul.txt")
    return text


def file_tag(path: Path) -> str | None:
    from langcodes import tag_is_valid

    from openeurollm.languages import normal_tag

    code = path.stem.rsplit(".", 1)[-1].replace("_", "-")
    return normal_tag(code) if path.suffix == ".txt" and path.is_file() and tag_is_valid(code) else None


def read_lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path} cannot be read: {error}")


def joined(lines: list[str], size: int) -> list[str]:
    """Runs of `size` lines as one text each; an unfinished last run counts only where it is the only one."""
    return ["\n".join(lines[start : start + size]) for start in range(0, max(1, len(lines) - size + 1), size)]


def pooled(tag: str) -> str:
    return "sr" if tag in ("sr-Latn", "sr-Cyrl") else tag


def units(lines: dict[str, list[str]], size: int) -> tuple[list[str], list[str]]:
    """The tag and the text of every unit of `size` lines."""
    pairs = [(tag, unit) for tag, some in lines.items() for unit in joined(some, size)]
    return [tag for tag, _ in pairs], [unit for _, unit in pairs]


def measure(tool: Tool, text: Text) -> dict[str, Any]:
    """All figures of `tool`; raises CannotRun."""
    python = environment(tool) if tool.requirement else Path(sys.executable)
    kinds = {
        "sentences": units(text.scored, 1),
        "documents": units(text.scored, DOCUMENT),
        "long documents": units(text.scored, LONG),
        "other sentences": units(text.others, 1),
        "other documents": units(text.others, DOCUMENT),
    }
    few = kinds["documents"][1][:: max(1, len(kinds["documents"][1]) // 100)]
    starts = [worker(tool, python, "start", few)[0] for _ in range(STARTS)]
    answered = {line["kind"]: line for line in worker(tool, python, "answer", {k: v[1] for k, v in kinds.items()})}
    speed = {kind: line["bytes"] / 1e6 / line["cpu_s"] for kind, line in answered.items() if line["cpu_s"]}
    pairs = {
        kind: [(pooled(tag), normal(answer)) for tag, answer in zip(tags, answered[kind]["answers"], strict=True)]
        for kind, (tags, _) in kinds.items()
    }
    sentence, document = f1(pairs["sentences"]), f1(pairs["documents"])
    hbs = south_slavic(kinds["documents"][0], pairs["documents"])
    return {
        "version": version(tool),
        "sentence_f1": round(mean(sentence.values()), 4),
        "document_f1": round(mean(document.values()), 4),
        "hbs_document_f1": round(mean(hbs.values()), 4) if hbs else None,
        "hbs": hbs,
        "rejected": rejected(pairs),
        "mb_per_s": round(speed["documents"], 3),
        "long_mb_per_s": round(speed["long documents"], 3),
        "sentence_mb_per_s": round(speed["sentences"], 3),
        "memory_mb": round(median(start["memory_mb"] for start in starts), 1),
        "first_answer_s": round(median(start["first_answer_s"] for start in starts), 3),
        "languages": {tag: {"sentence": sentence[tag], "document": document[tag]} for tag in sorted(sentence)},
        "confusions": {"sentence": confusions(pairs["sentences"]), "document": confusions(pairs["documents"])},
    }


def environment(tool: Tool) -> Path:
    """The Python of the peer's own environment, made on first use."""
    folder = CACHE / tool.name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = folder / "ready"
    if not ready.is_file() or ready.read_text() != tool.requirement:
        print(f"{tool.name}: installing {tool.requirement} into {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n")
        run([sys.executable, "-m", "venv", str(folder)], "no virtual environment")
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(tool.requirement)]
        run(pip, "cannot be installed")
        ready.write_text(str(tool.requirement))
    return python


def worker(tool: Tool, python: Path, mode: str, texts: object) -> list[dict[str, Any]]:
    """What a fresh process of `tool` prints about `texts`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(texts), "utf-8")
        lines = run([str(python), __file__, "--worker", tool.name, mode, str(file)], f"failed at {mode}")
    return [json.loads(line) for line in lines.splitlines()]


def run(command: list[str], trouble: str) -> str:
    """The output of `command`, held to one thread; raises CannotRun with the last line it complains with."""
    threads = ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON")
    surroundings = os.environ | {f"{name}_NUM_THREADS": "1" for name in threads} | {"PYTHONUTF8": "1"}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=surroundings, check=False)
    if done.returncode:
        complaint = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise CannotRun(f"{trouble}: {complaint[-1].strip()[:300]}")
    return done.stdout


def version(tool: Tool) -> str:
    from openeurollm import __version__

    return tool.requirement.split("==")[1] if tool.requirement else __version__


def normal(answer: str) -> str:
    """The label for an answer in the tool's own words; `hbs`, one code for all of bs, hr and sr, counts as Serbian."""
    from openeurollm.languages import normal_tag

    return pooled(normal_tag(answer) or "und")


Pairs = list[tuple[str, str]]
"""What a text is, and what was answered."""


def f1(pairs: Pairs) -> dict[str, float]:
    """F1 of every label that some text has."""
    true, answered = Counter(tag for tag, _ in pairs), Counter(answer for _, answer in pairs)
    right = Counter(tag for tag, answer in pairs if tag == answer)
    return {tag: round(2 * right[tag] / (true[tag] + answered[tag]), 4) for tag in true}


def south_slavic(tags: list[str], pairs: Pairs) -> dict[str, float] | None:
    """F1 among Bosnian, Croatian and Serbian in Latin script alone, where the text has all three."""
    three = {"bs", "hr", "sr-Latn"}
    found = f1([pair for tag, pair in zip(tags, pairs, strict=True) if tag in three])
    return {tag: found[pooled(tag)] for tag in sorted(three)} if three <= set(tags) else None


def rejected(pairs: dict[str, Pairs]) -> dict[str, Any] | None:
    """Share of the texts outside the contract that the tool does not call by a language of the contract."""
    from openeurollm.languages import languages

    contract = {pooled(tag) for tag in languages()}

    def share(some: Iterable[tuple[str, str]]) -> float:
        return round(mean(answer not in contract for _, answer in some), 4)

    sentences, documents = pairs["other sentences"], pairs["other documents"]
    if not sentences:
        return None
    each = {
        tag: {
            "sentence": share(pair for pair in sentences if pair[0] == tag),
            "document": share(pair for pair in documents if pair[0] == tag),
        }
        for tag in dict.fromkeys(tag for tag, _ in sentences)
    }
    return {"sentence": share(sentences), "document": share(documents), "languages": each}


def confusions(pairs: Pairs) -> list[tuple[str, str, int]]:
    """The ten most frequent wrong answers: the language, the answer, how often."""
    wrong = Counter((tag, answer) for tag, answer in pairs if tag != answer)
    return [(tag, answer, count) for (tag, answer), count in wrong.most_common(10)]


def compare(tools: list[Tool], text: Text, about: dict[str, Any]) -> dict[str, Any]:
    """The result in the shape that every benchmark prints."""
    results: dict[str, dict[str, Any]] = {}
    for tool in tools:
        print(f"{tool.name} …", file=sys.stderr)
        try:
            results[tool.name] = measure(tool, text)
        except CannotRun as reason:
            results[tool.name] = {"reason": str(reason)}
    ours = results.pop("ours", None)
    best = max((peer["mb_per_s"] for peer in results.values() if "mb_per_s" in peer), default=None)
    ratio = round(ours["mb_per_s"] / best, 3) if best and ours and "mb_per_s" in ours else None
    return {"ours": ours, "peers": results, "ratio": ratio, "text": about}


ROWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "sentence F1, %": lambda tool: f"{100 * tool['sentence_f1']:.1f}",
    "document F1, %": lambda tool: f"{100 * tool['document_f1']:.1f}",
    "bs, hr, sr-Latn document F1, %": lambda tool: f"{100 * tool['hbs_document_f1']:.1f}" if tool["hbs"] else "–",
    "rejected sentences, %": lambda tool: f"{100 * tool['rejected']['sentence']:.1f}" if tool["rejected"] else "–",
    "rejected documents, %": lambda tool: f"{100 * tool['rejected']['document']:.1f}" if tool["rejected"] else "–",
    "MB/s, documents": lambda tool: f"{tool['mb_per_s']:.2f}",
    "MB/s, long documents": lambda tool: f"{tool['long_mb_per_s']:.2f}",
    "memory, MB": lambda tool: f"{tool['memory_mb']:.0f}",
    "import and first answer, s": lambda tool: f"{tool['first_answer_s']:.2f}",
}


def show(found: dict[str, Any]) -> None:
    """The result as tables for a reader."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    tools = ({"ours": found["ours"]} if found["ours"] else {}) | found["peers"]
    ran = {name: figures for name, figures in tools.items() if "reason" not in figures}
    table = Table("", title="Language identification")
    for name, figures in ran.items():
        table.add_column(f"{name} {figures['version']}", justify="right")
    for words, cell in ROWS.items():
        table.add_row(words, *(cell(figures) for figures in ran.values()))
    console.print(table)
    for name, figures in tools.items():
        if "reason" in figures:
            console.print(f"{name} was not run: {figures['reason']}", markup=False)
    show_notes(console.print, found)
    if "ours" in ran:
        show_ours(console, ran)


def show_notes(say: Callable[[str], None], found: dict[str, Any]) -> None:
    about = found["text"]
    if about["toy"]:
        say("This is a toy text, the sample's own sentences: it shows that the tools run, not how good they are.")
    say(f"Text: {about['sentences']} sentences, {about['labels']} labels; documents are {DOCUMENT} lines.")
    say("MB/s: bytes of text by CPU seconds of the calls, one thread.")
    if about["others"]:
        say(f"Rejected: % of {len(about['others'])} languages outside the contract that is not called by one in it.")
    if about["second"]:
        say(f"Left out: {about['second']} further files of a language.")
    if about["ignored"]:
        say(f"Left out: {about['ignored']} files that are empty or name no language.")
    if about["unscored"]:
        say(f"Left out: {', '.join(about['unscored'])}, in the contract but not among the labels compared.")
    if found["ratio"]:
        say(f"Ours reads {found['ratio']:.2f} times as fast as the fastest peer.")


def show_ours(console: Any, ran: dict[str, dict[str, Any]]) -> None:
    """Where ours is weakest, beside the peers, and what it takes for what."""
    from rich.table import Table

    languages = ran["ours"]["languages"]
    table = Table("language", *(f"{name}" for name in ran), title="Weakest ten of ours, F1 of sentences / documents")
    for tag in sorted(languages, key=lambda tag: languages[tag]["sentence"])[:10]:
        each = [figures["languages"][tag] for figures in ran.values()]
        table.add_row(tag, *(f"{100 * found['sentence']:.1f} / {100 * found['document']:.1f}" for found in each))
    console.print(table)
    for unit, pairs in ran["ours"]["confusions"].items():
        listed = ", ".join(f"{tag} as {answer} {count}" for tag, answer, count in pairs)
        console.print(f"Ours takes ({unit}): {listed or 'nothing for anything else'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, metavar="DIR", help="one file a language (default: the sample, a toy)")
    parser.add_argument("--only", metavar="NAME,…", help=f"some of {', '.join(TOOLS)}")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, mode, file = options.worker
        texts = json.loads(Path(file).read_text("utf-8"))
        (work_start if mode == "start" else work_answer)(TOOLS[name], texts)
        return
    names = options.only.split(",") if options.only else list(TOOLS)
    if unknown := [name for name in names if name not in TOOLS]:
        fail(f"there is no tool called {', '.join(unknown)}; there are {', '.join(TOOLS)}")
    text = read(options.text or ROOT / "sample" / "parallel")
    about = {
        "toy": options.text is None,
        "sentences": sum(map(len, text.scored.values())),
        "labels": len({pooled(tag) for tag in text.scored}),
        "scored": sorted(text.scored),
        "others": sorted(text.others),
        "unscored": sorted(text.unscored),
        "second": len(text.second),
        "ignored": len(text.ignored),
    }
    found = compare([TOOLS[name] for name in names], text, about)
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        show(found)


if __name__ == "__main__":
    main()
