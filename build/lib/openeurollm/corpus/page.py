"""From a page's bytes to its main text, within bounds that do not depend on the clock."""

import re
from functools import cache
from typing import Any

from openeurollm.recipe import Corpus

_TAG = re.compile(rb"<(/?)([a-zA-Z][a-zA-Z0-9]{0,30})[^>]{0,10000}?(/?)>")
_VOID = frozenset(b"area base br col embed hr img input link meta param source track wbr".split())
_OPTIONAL = frozenset(b"p li dt dd tr td th option thead tbody tfoot colgroup rp rt".split())
"""Elements that need not be closed; the parser closes them, so they do not deepen the tree when they stand open."""
_LANGUAGE = re.compile(rb"""<html\b[^>]{0,500}?\s(?:xml:)?lang\s*=\s*["']?([a-zA-Z0-9_-]{2,35})""", re.IGNORECASE)


class Refused(Exception):
    """The page yields no text; the message is the name of the bucket it is counted in."""


def main_text(page: bytes, limits: Corpus) -> str:
    """The main text of a page, without navigation, footer and banners, paragraphs separated by empty lines.

    Raises `Refused` with `too_large`, `too_deep`, `too_many_elements`, `empty` or `extraction_failed`.
    """
    if len(page) > limits.max_page_bytes:
        raise Refused("too_large")
    _bound(page, limits)
    from trafilatura import extract
    from trafilatura.settings import use_config

    try:
        text = extract(_decoded(page), config=_config(use_config), include_comments=False, deduplicate=False)
    except (RecursionError, ValueError, AttributeError, TypeError, AssertionError, LookupError):
        raise Refused("extraction_failed") from None
    if not text:
        raise Refused("empty")
    return str(text).replace("\n", "\n\n")


def language_claim(page: bytes) -> str | None:
    """What the page says of its language, in `<html lang>`."""
    found = _LANGUAGE.search(page[:10_000])
    return found[1].decode("ascii") if found else None


def _bound(page: bytes, limits: Corpus) -> None:
    """Refuse pages that nest deeper or hold more elements than is reasonable, before any tree is built."""
    depth = elements = 0
    for tag in _TAG.finditer(page):
        name = tag[2].lower()
        if tag[1]:
            depth = max(0, depth - (name not in _OPTIONAL))
            continue
        elements += 1
        if elements > limits.max_page_elements:
            raise Refused("too_many_elements")
        if not tag[3] and name not in _VOID and name not in _OPTIONAL:
            depth += 1
            if depth > limits.max_page_depth:
                raise Refused("too_deep")


def _decoded(page: bytes) -> str:
    from trafilatura.utils import decode_file

    try:
        return page.decode("utf-8-sig")
    except UnicodeDecodeError:
        return str(decode_file(page))


@cache
def _config(use_config: Any) -> Any:
    config = use_config()
    config.set("DEFAULT", "EXTRACTION_TIMEOUT", "0")  # results must not depend on the machine's load
    config.set("DEFAULT", "MIN_EXTRACTED_SIZE", "0")
    config.set("DEFAULT", "MIN_OUTPUT_SIZE", "0")
    return config
