"""From tokens to text as it can be shown: whole letters only, and nothing beyond a stop string."""

from collections.abc import Sequence

from tokenizers import Tokenizer

_BROKEN = "\ufffd"
"""What a decoder writes for bytes that are no letter, or not one yet."""
_WINDOW = 64
"""Tokens that are decoded anew for each new one; more would cost time in the square of an answer's length."""


class Letters:
    """Decodes token by token; `push` gives what is certain and holds back a letter of which bytes are missing."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._told = 0

    def push(self, token: int) -> str:
        """The new text that `token` makes certain; special tokens have none."""
        self._ids.append(token)
        text = self._decode(self._ids)
        certain = text.removesuffix(_BROKEN)
        new = certain[self._told :]
        self._told = max(self._told, len(certain))
        if len(self._ids) > _WINDOW and certain == text:
            self._slide(text)
        return new

    def _slide(self, text: str) -> None:
        """Forget the older half, where the rest decodes to the end of the same text."""
        rest = self._ids[_WINDOW // 2 :]
        end = self._decode(rest)
        if end and text.endswith(end):
            self._ids, self._told = rest, len(end)

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))


class Stops:
    """Passes text on until a stop string comes; holds back what may be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.hit = False

    def push(self, text: str) -> str:
        """The text that may be shown now; nothing once a stop string was `hit`."""
        if self.hit:
            return ""
        text = self._held + text
        places = [place for place in map(text.find, self._stops) if place >= 0]
        if places:
            self.hit, self._held = True, ""
            return text[: min(places)]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """What was held back and is no stop string after all, now that the text has ended."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
