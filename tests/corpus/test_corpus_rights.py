"""Rights that owners reserve, in every signal that machines can read, and what is no reservation."""

import pytest
from archives import html
from hypothesis import given, settings
from hypothesis import strategies as st

from openeurollm.corpus.rights import AGENTS, reserved

URL = "https://Site.example/page"
HOST = "https://site.example"


def _robots(text, url=URL):
    return reserved(url, {}, html(""), {HOST: text})


@pytest.mark.parametrize(
    ("headers", "signal"),
    [
        ({"tdm-reservation": "1"}, "tdm-reservation header"),
        ({"tdm-reservation": " 1 "}, "tdm-reservation header"),
        ({"tdm-reservation": "0"}, ""),
        ({"x-robots-tag": "noai"}, "noai in X-Robots-Tag"),
        ({"x-robots-tag": "noindex, NoAI, noimageai"}, "noai in X-Robots-Tag"),
        ({"x-robots-tag": "otherbot: noai"}, "noai in X-Robots-Tag"),
        ({"x-robots-tag": "noimageai"}, ""),
        ({"x-robots-tag": "noindex, nofollow"}, ""),
        ({}, ""),
    ],
)
def test_signals_in_headers(headers, signal):
    assert reserved(URL, headers, html(""), {}) == signal


@pytest.mark.parametrize(
    ("head", "signal"),
    [
        ('<meta name="tdm-reservation" content="1">', "tdm-reservation in metadata"),
        ("<META CONTENT='1' NAME='TDM-Reservation' />", "tdm-reservation in metadata"),
        ("<meta name=tdm-reservation content=1>", "tdm-reservation in metadata"),
        ('<meta name="tdm-reservation" content="0">', ""),
        ('<meta name="robots" content="index, noai">', "noai in robots metadata"),
        ('<meta\n  name="robots"\n  content="noimageai,noai"\n>', "noai in robots metadata"),
        ('<meta name="robots" content="noimageai, noindex">', ""),
        ('<meta name="description" content="noai">', ""),
        ('<meta name="robots">', ""),
        ('<meta content="noai">', ""),
    ],
)
def test_signals_in_metadata(head, signal):
    assert reserved(URL, {}, html("", head), {}) == signal


@pytest.mark.parametrize("agent", AGENTS)
def test_a_site_closed_to_a_crawler_that_gathers_training_text_is_reserved(agent):
    assert _robots(f"User-agent: {agent}\nDisallow: /\n") == f"robots.txt for {agent}"


@pytest.mark.parametrize(
    ("text", "signal"),
    [
        ("User-agent: *\nDisallow: /\n", "robots.txt for *"),
        ("User-agent: *\nDisallow: /pa\n", "robots.txt for *"),
        ("User-agent: *\nDisallow: /*age$\n", "robots.txt for *"),
        ("User-agent: *\nDisallow: /other\n", ""),
        ("User-agent: *\nAllow: /\n", ""),
        ("User-agent: GoogleBot\nDisallow: /\n", ""),
        ("User-agent: *\nDisallow: /\nAllow: /page\n", ""),
        ("", ""),
        ("<html>404</html>", ""),
        ("\0\ufffd" * 100, ""),
    ],
)
def test_robots_txt_is_read_as_the_standard_says(text, signal):
    assert _robots(text) == signal


def test_robots_txt_holds_for_its_own_host_and_scheme_only():
    closed = {HOST: "User-agent: *\nDisallow: /\n"}
    assert reserved("https://site.example:8080/page", {}, b"", closed) == ""
    assert reserved("http://site.example/page", {}, b"", closed) == ""
    assert reserved("https://other.example/page", {}, b"", closed) == ""
    assert reserved("https://[broken", {}, b"", closed) == ""
    assert reserved("", {}, b"", closed) == ""


def test_robots_txt_full_of_stars_is_matched_in_one_pass():
    rules = "User-agent: *\n" + f"Disallow: /{'a*' * 2_000}b\n" * 20
    assert _robots(rules, f"{HOST}/{'a' * 5_000}") == ""


@given(st.text(max_size=300), st.text(max_size=60), st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_nothing_that_an_owner_writes_breaks_it(robots, path, page):
    url = f"{HOST}/{path}"
    assert isinstance(reserved(url, {"x-robots-tag": robots, "tdm-reservation": path}, page, {HOST: robots}), str)
    assert isinstance(reserved(path, {}, b"<meta " + page + b">", {HOST: f"User-agent: *\nDisallow: {robots}"}), str)
