"""Which language is this text: of a sentence, of a document and its parts.

The script rules out most languages, the words decide among the rest: `identifier` holds the model, and is imported
when the first text is asked about. A text in no language of the contract, or in none at all, is `und`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

UNKNOWN = "und"
GROUPS = (
    ("bs", "hr", "sr-Latn", "cnr"),
    ("nb", "nn", "da"),
    ("gl", "pt", "es", "ca"),
    ("cs", "sk"),
    ("mk", "bg", "sr-Cyrl"),
)
"""Languages close enough that a sentence may not tell them apart: inside one, the whole document decides."""


@dataclass(frozen=True)
class Answer:
    """The identified `language` (BCP-47, `und` for none of the contract's), its `probability`, and the best three.

    Where a text holds no letter, the probability is 0 and there is no best.
    """

    language: str
    probability: float
    top: tuple[tuple[str, float], ...]

    @property
    def group_probability(self) -> float:
        """Probability of the language together with those of its close group among the best three."""
        group = next((group for group in GROUPS if self.language in group), (self.language,))
        return sum(probability for tag, probability in self.top if tag in group)


@dataclass(frozen=True)
class Segment:
    """Characters `start` to `end` of a text, which are in one language."""

    start: int
    end: int
    answer: Answer


@dataclass(frozen=True)
class Document:
    """The main language of a text, and the share of its bytes in each language, the largest first."""

    answer: Answer
    languages: dict[str, float]

    @property
    def mixed(self) -> bool:
        """Whether a second language takes a tenth of the text or more."""
        return len(self.languages) > 1 and list(self.languages.values())[1] >= 0.1


def identify(text: str, claim: str | None = None) -> Answer:
    """Identify the language of `text`; `claim` is what its page or source says of itself (any usual tag).

    The claim is weighed only between the languages of a close group.
    """
    return identify_batch([text], [claim])[0]


def identify_batch(texts: Any, claims: Sequence[str | None] = ()) -> list[Answer]:
    """Identify each of many texts: a sequence of str, or an Arrow array of strings, which is read without a copy.

    Of a text longer than four windows of 16 KiB, those windows are read, spread evenly. Arrow strings are taken to be
    in Unicode's NFC, as the project's documents are.
    """
    from openeurollm.languages.identifier import ask

    return ask.batch(texts, claims)


def documents(texts: Any) -> list[Document]:
    """Identify each of many documents (as `identify_batch` takes them) and the languages of its parts.

    The answer is that of the parts in the language that takes most of the text.
    """
    from openeurollm.languages.identifier import ask

    return ask.documents(texts)


def segments(texts: Sequence[str]) -> list[list[Segment]]:
    """Cut each text into segments of one language each, in order; together they are the whole text."""
    from openeurollm.languages.identifier import ask

    return ask.segments(texts)
