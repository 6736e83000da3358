"""The command itself: a real server on a free loopback port, clients that go away, the page in a real browser."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from openeurollm.errors import BadInput, Failure
from openeurollm.serve.model import threads
from openeurollm.serve.server import bind

ANSWER = "Ja, ž€шΩ"
HELLO = [{"role": "user", "content": "Hello"}]
CHAT = "/v1/chat/completions"
RAMBLE = re.compile(r"^(ab){5}")
COMMAND = [sys.executable, "-c", "from openeurollm.cli import main; main()"]


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, Any]]:
    """Run `openeurollm serve`; gives what it prints with --json. Ctrl-C must end it at once and well."""
    command = [*COMMAND, "serve", str(folder), "--port", "0", "--threads", "1", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = []
        while (line := process.stdout.readline()) and line != "}\n":
            lines.append(line)
        assert line, process.communicate()[1]
        yield json.loads("".join([*lines, line]))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=15)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")


@pytest.fixture(scope="module")
def talker(speaking: Path) -> Iterator[str]:
    with serving(speaking) as said:
        yield said["address"]


@pytest.fixture(scope="module")
def rambler(rambling: Path) -> Iterator[str]:
    with serving(rambling) as said:
        yield said["address"]


def test_it_says_where_it_is_and_what_it_serves(speaking: Path) -> None:
    with serving(speaking) as said:
        assert said["address"].startswith("http://127.0.0.1:")
        assert (said["model"], said["context"], said["threads"]) == ("speaking", 256, 1)
        assert httpx.get(f"{said['address']}/v1/models").json()["data"][0]["id"] == "speaking"


def test_a_stream_comes_piece_by_piece(rambler: str) -> None:
    request = {"messages": HELLO, "temperature": 0, "stream": True, "max_tokens": 200}
    with httpx.stream("POST", rambler + CHAT, json=request, timeout=30) as response:
        times = [time.monotonic() for line in response.iter_lines() if line.startswith("data: {")]
    assert len(times) == 202
    assert times[-1] - times[0] > 0.05


def test_a_client_that_goes_away_from_a_stream_stops_it(rambler: str) -> None:
    with httpx.stream("POST", rambler + CHAT, json={"messages": HELLO, "stream": True}, timeout=30) as response:
        pieces = response.iter_lines()
        for _ in range(6):
            next(pieces)
    _answers_at_once(rambler)


def test_a_client_that_goes_away_from_a_whole_answer_stops_it(rambler: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(rambler + CHAT, json={"messages": HELLO}, timeout=1)
    _answers_at_once(rambler)


def test_clients_that_go_away_while_they_wait_leave_the_line(rambler: str) -> None:
    def impatient(_: int) -> None:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(rambler + CHAT, json={"messages": HELLO}, timeout=1)

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(impatient, range(8)))
    _answers_at_once(rambler)


def _answers_at_once(address: str) -> None:
    """The 20,000 tokens of the answer before would take over half a minute."""
    began = time.monotonic()
    response = httpx.post(address + CHAT, json={"messages": HELLO, "max_tokens": 2, "temperature": 0}, timeout=30)
    assert response.json()["choices"][0]["message"]["content"] == "ab"
    assert time.monotonic() - began < 5


def test_a_body_too_large_is_told_so(talker: str) -> None:
    response = httpx.post(talker + CHAT, content=b" " * 5_000_000, timeout=30)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


def test_a_server_that_is_answering_stops_at_once(rambling: Path) -> None:
    with serving(rambling) as said:
        stream = httpx.stream("POST", said["address"] + CHAT, json={"messages": HELLO, "stream": True}, timeout=30)
        response = stream.__enter__()
        lines = response.iter_lines()
        next(lines)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert "the server is stopping" in list(lines)[-2]


def test_a_busy_port_and_a_foreign_host_are_said_in_words() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Failure, match=f"port {port} is in use; .* --port"):
            bind("127.0.0.1", port)
    with pytest.raises(BadInput, match=r"--host 203\.0\.113\.1: not an address of this machine"):
        bind("203.0.113.1", 0)
    with pytest.raises(BadInput, match="not an address of this machine"):
        bind("no such host", 0)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_it_listens_on_ipv6_loopback() -> None:
    with bind("::1", 0) as listening:
        assert listening.getsockname()[0] == "::1"


def test_the_command_refuses_what_is_no_model(tmp_path: Path) -> None:
    from openeurollm.cli import app

    result = CliRunner().invoke(app, ["serve", str(tmp_path), "--port", "0"])
    assert isinstance(result.exception, BadInput)
    assert "no model here" in str(result.exception)


def test_one_core_at_least_answers() -> None:
    assert 1 <= threads() <= max(1, (os.cpu_count() or 1) - 1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window; where there is none the tests of the page are left out."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def expect(browser: Any) -> Any:
    """Playwright's patient assertions; they work under the page's policy, which forbids `eval`."""
    from playwright.sync_api import expect

    return expect


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open the page of a server; what the browser complains of fails the test."""
    complaints: list[str] = []
    contexts: list[Any] = []

    def opened(address: str, **settings: Any) -> Any:
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text) if _is_complaint(message) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def _is_complaint(message: Any) -> bool:
    """An error on the console; that a request was refused with 400 is the server's doing."""
    return message.type == "error" and "status of 400" not in message.text


def test_the_page_talks_by_keyboard_alone(talker: str, visit: Callable[..., Any], expect: Any) -> None:
    page = visit(talker)
    expect(page).to_have_title("speaking")
    page.keyboard.type("<b>Hello</b>")  # the field has the focus
    page.keyboard.press("Enter")
    expect(page.locator(".assistant p")).to_have_text(ANSWER)
    expect(page.locator(".user p")).to_have_text("<b>Hello</b>")
    expect(page.locator(".user b")).to_have_count(0)
    expect(page.locator("p[dir=auto][lang='']")).to_have_count(2)
    expect(page.locator("#words")).to_be_focused()


def test_the_page_stops_and_begins_anew(rambler: str, visit: Callable[..., Any], expect: Any) -> None:
    page = visit(rambler)
    page.fill("#words", "Hello")
    page.click("#send")
    expect(page.locator(".assistant p")).to_have_text(RAMBLE)
    page.click("#stop")
    page.wait_for_selector("#send:visible")
    told = page.locator(".assistant p").inner_text()
    page.wait_for_timeout(300)
    assert page.locator(".assistant p").inner_text() == told
    _answers_at_once(rambler)
    page.fill("#words", "Again")
    page.keyboard.press("Enter")
    expect(page.locator(".assistant p").last).to_have_text(RAMBLE)
    page.keyboard.press("Escape")
    page.wait_for_selector("#send:visible")
    page.click("#anew")
    expect(page.locator("article")).to_have_count(0)


def test_what_the_server_refuses_is_shown_and_the_words_kept(talker: str, visit: Callable[..., Any]) -> None:
    page = visit(talker)
    page.fill("#words", "x" * 300)
    with page.expect_response(lambda response: response.status == 400):
        page.evaluate("document.getElementById('form').requestSubmit()")
    page.wait_for_selector(".error p")
    assert "leaves no room" in page.locator(".error p").inner_text()
    assert page.input_value("#words") == "x" * 300


def test_a_conversation_that_outgrows_the_context_goes_on(talker: str, visit: Callable[..., Any], expect: Any) -> None:
    page = visit(talker)
    for turn in range(1, 4):
        page.fill("#words", "x" * 90)
        page.keyboard.press("Enter")
        expect(page.locator(".assistant p").nth(turn - 1)).to_have_text(ANSWER)
        expect(page.locator("#send")).to_be_visible()
        assert page.locator(".note").count() == (turn == 3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_by_day_and_night(talker: str, visit: Callable[..., Any], scheme: str) -> None:
    page = visit(talker, viewport={"width": 320, "height": 568}, color_scheme=scheme)
    page.fill("#words", "Hello " * 5 + "x" * 60)
    page.keyboard.press("Enter")
    page.wait_for_selector(".assistant p")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.evaluate("document.documentElement.scrollHeight") <= 568
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") is (scheme == "light")
