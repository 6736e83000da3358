"""The page in a real browser: no error, nothing fetched, tables that sort, labels that do not collide."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_run import GAP, TAGS, make

from openeurollm.board import facts, page
from openeurollm.languages import languages

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")

COLLISIONS = """() => {
  const found = [];
  for (const chart of document.querySelectorAll("svg.chart")) {
    const frame = chart.getBoundingClientRect();
    const boxes = [...chart.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
    for (const [words, box] of boxes)
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom || box.top < frame.top)
        found.push(`cut off: ${words}`);
    boxes.forEach(([words, a], place) => {
      for (const [others, b] of boxes.slice(place + 1))
        if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3)
          found.push(`overlap: ${words} / ${others}`);
    });
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    runs = [make(folder / "fake"), make(folder / "half", "corpus", "half"), make(folder / "other", name="other")]
    (folder / "several.html").write_text(page([facts(run) for run in runs]), "utf-8")
    (folder / "one.html").write_text(page([facts(runs[0])]), "utf-8")
    return folder


@pytest.fixture
def opened(browser: Any, board: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page of the board; anything said on the console or fetched fails the test."""
    troubles: list[str] = []
    pages = []

    def opening(name: str = "one.html", **options: Any) -> Any:
        tab = browser.new_page(**options)
        pages.append(tab)
        tab.on("console", lambda message: troubles.append(message.text))
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("request", lambda request: troubles.append(request.url))
        tab.goto((board / name).as_uri())
        return tab

    yield opening
    for tab in pages:
        tab.close()
    assert [trouble for trouble in troubles if not trouble.endswith((".html", "data:,"))] == []


def names(tab: Any) -> list[str]:
    found: list[str] = tab.eval_on_selector_all(
        "table.filtered tbody tr:not([hidden]) th code", "all => all.map(one => one.textContent)"
    )
    return found


def column(tab: Any, number: int) -> list[float | None]:
    cells = tab.eval_on_selector_all(
        "table.filtered tbody tr", f"rows => rows.map(row => row.cells[{number}].dataset.value)"
    )
    return [float(cell) if cell else None for cell in cells]


def test_a_table_sorts_by_number_and_goes_back(opened: Callable[..., Any]) -> None:
    tab = opened()
    head = tab.locator("table.filtered th[data-column='8']")
    head.locator("button").click()
    found = column(tab, 8)
    assert found[-1] is None
    assert found[:-1] == sorted((value for value in found if value is not None), reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").click()
    found = column(tab, 8)
    assert found[-1] is None
    assert found[:-1] == sorted(value for value in found if value is not None)
    assert names(tab)[-1] == GAP
    head.locator("button").click()
    assert names(tab) == list(TAGS)
    assert head.get_attribute("aria-sort") == "none"


def test_a_table_sorts_by_name_and_filters_in_any_script(opened: Callable[..., Any]) -> None:
    tab = opened()
    tab.locator("table.filtered th[data-column='0'] button").click()
    assert names(tab) == sorted(TAGS, key=lambda tag: languages()[tag].name)
    tab.get_by_label("Filter languages").fill("СРП")
    assert names(tab) == ["sr-Cyrl"]
    assert tab.locator("label.filter output").text_content() == "1 of 43"
    tab.get_by_label("Filter languages").fill("")
    assert len(names(tab)) == 43


@pytest.mark.parametrize("name", ["one.html", "several.html"])
@pytest.mark.parametrize("width", [360, 400, 768, 1200, 1800])
def test_nothing_is_cut_off_or_covered_at_any_width(opened: Callable[..., Any], name: str, width: int) -> None:
    tab = opened(name, viewport={"width": width, "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(COLLISIONS) == []


def test_dark_and_light_are_told_apart_and_print_is_light(opened: Callable[..., Any]) -> None:
    def brightness(tab: Any) -> int:
        paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(paper.partition("(")[2].partition(",")[0])

    dark = opened(color_scheme="dark")
    assert brightness(dark) < 60
    dark.emulate_media(media="print", color_scheme="dark")
    assert brightness(dark) == 255
    assert brightness(opened(color_scheme="light")) == 255


def test_trainings_are_compared_over_what_is_chosen_without_script(opened: Callable[..., Any]) -> None:
    tab = opened("several.html", java_script_enabled=False, viewport={"width": 400, "height": 900})
    shown = tab.locator(".across:visible")
    for label, unit in (("time", "seconds"), ("floating-point operations", "flop"), ("tokens", "tokens")):
        tab.get_by_label(label, exact=True).check()
        assert shown.count() == 1
        assert unit in (shown.get_attribute("class") or "")
        assert shown.locator("path.r2").count() == 4  # the third run, in the legends and in the charts
        assert tab.evaluate(COLLISIONS) == []


def test_no_curve_of_a_language_leaves_its_place(opened: Callable[..., Any]) -> None:
    for width in (360, 1200):
        tab = opened(viewport={"width": width, "height": 900})
        wider = (
            """cells => cells.filter(cell => cell.scrollWidth > cell.clientWidth + 1).map(cell => cell.textContent)"""
        )
        assert tab.eval_on_selector_all("ul.multiples > li", wider) == []
        assert tab.locator("ul.multiples > li").count() == 44


def test_without_script_the_page_is_whole(opened: Callable[..., Any]) -> None:
    tab = opened(java_script_enabled=False)
    assert tab.locator("table.filtered tbody tr").count() == 43
    assert tab.locator("thead button").count() == 0
