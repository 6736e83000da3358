"""Rights that a page's owner reserves against text and data mining, in the signals that machines can read.

robots.txt (RFC 9309), `tdm-reservation` (TDM Reservation Protocol, W3C community group, 2024), `noai` in X-Robots-Tag
and robots metadata (a convention since 2022).
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from protego import Protego

AGENTS = ("CCBot", "GPTBot", "Google-Extended", "ClaudeBot", "anthropic-ai", "Applebot-Extended", "Meta-ExternalAgent")
"""Crawlers that gather training text; a page closed to any of them, or to all (`*`), is taken as reserved."""

_META = re.compile(rb"<meta\b[^<>]{0,500}>", re.IGNORECASE)
_NAME = re.compile(rb"""\bname\s*=\s*["']?\s*([a-z-]{1,40})""", re.IGNORECASE)
_CONTENT = re.compile(rb"""\bcontent\s*=\s*(?:"([^"]{0,200})"|'([^']{0,200})'|([^\s"'>]{1,200}))""", re.IGNORECASE)
_NOAI = re.compile(r"(?:^|[\s,:])noai(?:$|[\s,])", re.IGNORECASE)
_HEAD = 100_000
"""Bytes of a page in which metadata is looked for."""


def reserved(url: str, headers: Mapping[str, str], page: bytes, robots: Mapping[str, str]) -> str:
    """The signal by which the owner reserves rights on this page, or an empty string.

    `headers` have lower-case names; `robots` maps scheme and host to the text of robots.txt.
    """
    if headers.get("tdm-reservation", "").strip() == "1":
        return "tdm-reservation header"
    if _NOAI.search(headers.get("x-robots-tag", "")):
        return "noai in X-Robots-Tag"
    for tag in _META.findall(page[:_HEAD]):
        name, content = _NAME.search(tag), _CONTENT.search(tag)
        if not name or not content:
            continue
        value = next(part for part in content.groups() if part is not None).decode("utf-8", "replace")
        if name[1].lower() == b"tdm-reservation" and value.strip() == "1":
            return "tdm-reservation in metadata"
        if name[1].lower() == b"robots" and _NOAI.search(value):
            return "noai in robots metadata"
    return _robots(url, robots)


def _robots(url: str, robots: Mapping[str, str]) -> str:
    try:
        address = urlsplit(url)
    except ValueError:
        return ""
    text = robots.get(f"{address.scheme}://{address.netloc}".lower())
    if text is None:
        return ""
    rules = _parse(text)
    for agent in ("*", *AGENTS):
        if not rules.can_fetch(url, agent):
            return f"robots.txt for {agent}"
    return ""


@lru_cache(maxsize=10_000)
def _parse(text: str) -> Protego:
    return Protego.parse(text)
