"""From a page's bytes to its main text, within bounds that do not depend on the clock."""

import codecs
import re
from functools import cache
from typing import Any

from lxml import etree

from openeurollm.recipe import Corpus

_MAX_ATTRIBUTES = 1_000
"""In one tag: libxml2 needs time in their square, 0.002 s for 1,000 and 40 s for 60,000."""
_RAW = "iframe|noembed|noframes|script|style|textarea|title|xmp"
"""Elements whose content is text, whatever it looks like."""
_TAG = re.compile(
    r"<!--(?:-?>|.*?(?:--!?>|\Z))|<(?:[!?]|/[^a-zA-Z])[^>]*+"
    r"|<(?P<close>/?)(?P<name>[a-zA-Z][^\t\n\f\r />]*+)"
    r"""(?P<attributes>(?:[^>"'=]++|["']|=[\t\n\f\r ]*+(?:"[^"]*+"|'[^']*+')?+)*+)""",
    re.DOTALL,
)
"""A comment, a declaration, or a tag up to its `>`, as HTML 5 splits them; it reads no character twice."""
_RAW_END = {name: re.compile(f"</{name}", re.IGNORECASE) for name in _RAW.split("|")}
_VALUE = re.compile(r"""=[\t\n\f\r ]*+(?:"[^"]*+"|'[^']*+')""")
_LANGUAGE = re.compile(rb"""<html\b[^>]{0,500}?\s(?:xml:)?lang\s*=\s*["']?([a-zA-Z0-9_-]{2,35})""", re.IGNORECASE)
_CHARSET = re.compile(r"""(?:charset|encoding)\s{0,9}=\s{0,9}["']?\s{0,9}([a-z0-9_:.-]{3,20})""", re.IGNORECASE)
_CODEC = re.compile(
    r"(?:x-)?(?:iso-?8859-?\d+|latin-?\d+|windows-?125\d|cp-?\d+|koi8-?[rtu]|utf-?8|mac-?\w+|us-ascii|ascii)"
)
"""Encodings of European pages; Python knows others that a hostile page must not choose."""
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class Refused(Exception):
    """The page yields no text; the message is the name of the bucket it is counted in."""


def main_text(page: bytes, limits: Corpus, content_type: str = "") -> str:
    """The main text of a page, without navigation, footer and banners, paragraphs separated by empty lines.

    `content_type` is the header that came with it. Raises `Refused` with `too_large`, `too_deep`, `too_many_elements`,
    `too_many_attributes`, `empty` or `extraction_failed`.
    """
    if len(page) > limits.max_page_bytes:
        raise Refused("too_large")
    markup = decoded(page, content_type)
    _bound_attributes(markup)
    from trafilatura import extract
    from trafilatura.settings import use_config

    try:
        tree = _tree(markup, limits)
        text = extract(tree, config=_config(use_config), include_comments=False, deduplicate=False)
    except (etree.LxmlError, RecursionError, ValueError, AttributeError, TypeError, AssertionError, LookupError):
        raise Refused("extraction_failed") from None
    if not text:
        raise Refused("empty")
    return str(text).replace("\n", "\n\n")


def language_claim(page: bytes) -> str | None:
    """What the page says of its language, in `<html lang>`."""
    found = _LANGUAGE.search(page[:10_000])
    return found[1].decode("ascii") if found else None


def decoded(page: bytes, content_type: str = "") -> str:
    """The page as text: by its byte order mark, as UTF-8 where most of it is, as it or its header declares, or as it
    looks.
    """
    for mark, name in _MARKS:
        if page.startswith(mark):
            return page.decode(name, "replace")
    text = page.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if 2 * broken <= len(text) - len(text.encode("ascii", "ignore")):
        return text
    declared = _declared(content_type) or _declared(page[:4096].decode("ascii", "replace"))
    return page.decode(declared or _guessed(page), "replace")


def _declared(text: str) -> str | None:
    found = _CHARSET.search(text)
    if not found or not _CODEC.fullmatch(found[1].lower()):
        return None
    try:
        name = codecs.lookup(found[1]).name
    except LookupError:
        return None
    return "cp1252" if name in ("ascii", "iso8859-1") else name  # as browsers do: https://encoding.spec.whatwg.org


def _guessed(page: bytes) -> str:
    from trafilatura.utils import detect_encoding

    return next(iter(detect_encoding(page)), "utf-8")


def _bound_attributes(markup: str) -> None:
    """Refuse a page with a tag of so many attributes that no tree can be built of it in reasonable time."""
    place = 0
    while (tag := _TAG.search(markup, place)) is not None:
        place = tag.end()
        attributes, name = tag["attributes"] or "", (tag["name"] or "").lower()
        if len(attributes) > 2 * _MAX_ATTRIBUTES:
            bare = _VALUE.sub("= ", attributes)
            if len(bare.split()) + bare.count("=") + bare.count("/") > _MAX_ATTRIBUTES:
                raise Refused("too_many_attributes")
        if name in _RAW_END and not tag["close"] and not attributes.endswith("/"):
            end = _RAW_END[name].search(markup, place)
            if end is None:
                return
            place = end.start()


def _tree(markup: str, limits: Corpus) -> Any:
    """The page's tree. libxml2 builds none deeper than 255 and leaves out what is below without failing."""
    from trafilatura.utils import HTML_PARSER, load_html

    tree = load_html(markup)
    if any(error.type_name == "ERR_RESOURCE_LIMIT" for error in HTML_PARSER.error_log):
        raise Refused("too_deep")
    if tree is None:
        raise Refused("empty")
    elements = depth = 0
    for event, _ in etree.iterwalk(tree, events=("start", "end")):
        elements += event == "start"
        depth += 1 if event == "start" else -1
        if depth > limits.max_page_depth:
            raise Refused("too_deep")
        if elements > limits.max_page_elements:
            raise Refused("too_many_elements")
    return tree


@cache
def _config(use_config: Any) -> Any:
    config = use_config()
    config.set("DEFAULT", "EXTRACTION_TIMEOUT", "0")  # results must not depend on the machine's load
    config.set("DEFAULT", "MIN_EXTRACTED_SIZE", "0")
    config.set("DEFAULT", "MIN_OUTPUT_SIZE", "0")
    return config
