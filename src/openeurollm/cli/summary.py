"""What a run prints at its end: a table of languages, where the results lie, and what to try next."""

from typing import Any

from openeurollm.cli.frame import print_table
from openeurollm.ledger import RunFolder, read_json


def summary(run: RunFolder) -> dict[str, Any]:
    """The end of a run as values: a row a language, paths, and the next three commands; blanks where a stage is
    missing.
    """
    from openeurollm.languages import languages

    corpus, model = run.record("corpus"), run.record("model")
    fairness = run.folder("tokenizer") / "fairness.json"
    results = run.folder("evaluation") / "results.json"
    costs = read_json(fairness)["tokenizers"][0]["languages"] if fairness.is_file() else {}
    measured = {part["model"]: part["measures"] for part in read_json(results)["models"]} if results.is_file() else {}

    def bits(name: str, tag: str) -> float | None:
        found: float | None = measured.get(name, {}).get("bits_per_byte", {}).get(tag, {}).get("value")
        return found

    text: dict[str, dict[str, int]] = corpus.results["text"] if corpus else {}
    rows = [
        {
            "language": tag,
            "name": languages()[tag].name,
            "documents": text[tag]["documents"],
            "kilobytes": round(text[tag]["bytes"] / 1000),
            "tokens_a_sentence": costs.get(tag),
            "bits_per_byte_base": bits("base", tag),
            "bits_per_byte_tuned": bits("tuned", tag),
        }
        for tag in text
    ]
    release, board = run.folder("release"), run.folder("board") / "index.html"
    return {
        "run": str(run.path),
        "languages": rows,
        "parameters": model.results["parameters"] if model else None,
        "release": str(release) if release.is_dir() else None,
        "card": str(release / "README.md") if (release / "README.md").is_file() else None,
        "board": str(board.resolve()) if board.is_file() else None,
        "next": [
            f"openeurollm serve {release}",
            f"openeurollm release verify {release}",
            f"openeurollm corpus inspect {run.path} --reason near_duplicate",
        ]
        if release.is_dir()
        else [f"openeurollm status {run.path}"],
    }


def show(found: dict[str, Any]) -> None:
    """Print a summary."""
    titles = ("language", "", "documents", "kB", "tokens a sentence", "bits/byte base", "tuned")
    print_table("", titles, (list(row.values()) for row in found["languages"]), numbers=5)
    print()
    if found["parameters"]:
        print(f"model:   {found['parameters']:,} parameters; a toy when it was made in minutes")
    for name in ("release", "card"):
        if found[name]:
            print(f"{name + ':':8} {found[name]}")
    if found["board"]:
        print(f"board:   file://{found['board']}  (open it in a browser)")
    print("next:")
    for command in found["next"]:
        print(f"  .venv/bin/{command}")
