"""What models are measured on: held-out documents, parallel sentences and questions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from openeurollm.errors import BadInput


@dataclass(frozen=True)
class Material:
    """What there is in one language; a file that is None or absent gives nothing.

    Of the documents in `held_out` those whose ids are in `aside` are left out, and up to about `most_bytes` are taken.
    """

    tag: str
    held_out: Path | None = None
    most_bytes: int = 0
    aside: tuple[str, ...] = ()
    parallel: Path | None = None
    questions: Path | None = None

    def documents(self) -> list[tuple[str, str]]:
        """Id and text of the held-out documents; the last one is cut at a line end."""
        if self.held_out is None or not self.held_out.is_file():
            return []
        documents: list[tuple[str, str]] = []
        left, aside = self.most_bytes, set(self.aside)
        for row in pq.read_table(self.held_out, columns=["id", "text"]).to_pylist():
            if row["id"] in aside:
                continue
            text = row["text"]
            size = len(text.encode("utf-8"))
            if size > left:
                cut = text.encode("utf-8")[:left].decode("utf-8", "ignore")
                text = cut[: cut.rfind("\n")] if "\n" in cut else cut
            if text.strip():
                documents.append((row["id"], text))
            left -= size
            if left <= 0:
                break
        return documents

    def sentences(self) -> list[str]:
        """The parallel sentences."""
        return _sentences(self.parallel) if self.parallel is not None and self.parallel.is_file() else []

    def asked(self) -> list[str]:
        """The questions."""
        return read_questions(self.questions, (self.tag,)).get(self.tag, []) if self.questions is not None else []


def read_parallel(folder: Path, served: Sequence[str]) -> dict[str, list[str]]:
    """Parallel sentences by language, from `TAG.txt`; raises `BadInput` where there are none, or one is no text."""
    files = {tag: folder / f"{tag}.txt" for tag in served}
    found = {tag: _sentences(path) for tag, path in files.items() if path.is_file()}
    if not found:
        raise BadInput(f"{folder}: no parallel text (TAG.txt, one sentence a line) for the languages asked for")
    if len({len(lines) for lines in found.values()}) != 1:
        raise BadInput(f"{folder}: files must have the same number of sentences, as all say the same")
    return found


def _sentences(path: Path) -> list[str]:
    try:
        found = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not UTF-8 text") from None
    if not found:
        raise BadInput(f"{path}: holds no sentence")
    return found


def read_questions(path: Path, served: Sequence[str]) -> dict[str, list[str]]:
    """The opening questions by language of a JSONL file of conversations; raises `BadInput` for an invalid line."""
    found: dict[str, list[str]] = {tag: [] for tag in served}
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                fields = json.loads(line)
                tag, question = fields["language"], fields["messages"][0]["content"]
            except (ValueError, KeyError, TypeError, IndexError):
                raise BadInput(f"{path}: line {number} is no conversation") from None
            if tag in found:
                found[tag].append(str(question))
    return {tag: questions for tag, questions in found.items() if questions}
