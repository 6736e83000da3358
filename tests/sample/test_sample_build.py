"""The sample web: built from its sources, and enough of every language, well formed."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
import unicodedata
from pathlib import Path

import pytest

from openeurollm.languages import contract, languages, scripts

SAMPLE = Path(__file__).resolve().parents[2] / "sample"
TAGS = contract("europe")
TRUTH = tomllib.loads((SAMPLE / "truth.toml").read_text("utf-8"))
SITE = {"name", "domain", "navigation", "cookie_banner", "cookie_accept", "cookie_reject", "footer", "contact", "spam"}


@pytest.fixture(scope="module")
def sources():
    return {path.stem: tomllib.loads(path.read_text("utf-8")) for path in (SAMPLE / "pages").glob("*.toml")}


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def test_the_archive_is_what_the_sources_say():
    done = subprocess.run([sys.executable, str(SAMPLE / "build.py"), "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_can_be_built_with_the_standard_library_alone_and_gives_the_same_bytes(tmp_path):
    for name in ("pages", "truth.toml"):
        (tmp_path / name).symlink_to(SAMPLE / name)
    (tmp_path / "build.py").write_bytes((SAMPLE / "build.py").read_bytes())
    subprocess.run([sys.executable, "-I", "-S", str(tmp_path / "build.py")], check=True)
    assert (tmp_path / "chat.jsonl").read_bytes() == (SAMPLE / "chat.jsonl").read_bytes()
    subprocess.run([sys.executable, str(tmp_path / "build.py"), "--check"], check=True)


def test_a_change_of_a_page_is_noticed(tmp_path):
    for name in ("truth.toml", "web.warc.gz", "chat.jsonl"):
        (tmp_path / name).symlink_to(SAMPLE / name)
    (tmp_path / "build.py").write_bytes((SAMPLE / "build.py").read_bytes())
    (tmp_path / "pages").mkdir()
    for path in (SAMPLE / "pages").glob("*.toml"):
        text = path.read_text("utf-8")
        changed = text.replace("text = '''\n", "text = '''\nKelma oħra. ", 1)
        (tmp_path / "pages" / path.name).write_text(changed if path.stem == "mt" else text, "utf-8")
    done = subprocess.run([sys.executable, str(tmp_path / "build.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "run python sample/build.py" in done.stderr


def test_there_are_sources_for_every_language_and_for_pages_outside(sources):
    assert set(sources) == {*TAGS, "outside"}


@pytest.mark.parametrize("tag", TAGS)
def test_a_language_has_six_pages_of_a_hundred_and_eighty_words(tag, sources):
    source = sources[tag]
    assert source["language"] == tag
    assert len(source["page"]) >= 6
    for page in source["page"]:
        assert len(page["text"].split()) >= 180, page["slug"]
        assert re.fullmatch(r"[a-z0-9-]+", page["slug"])
        assert page["title"].strip()
    for field in ("slug", "title", "text"):
        assert len({page[field] for page in source["page"]}) == len(source["page"])


@pytest.mark.parametrize("tag", [*TAGS, "outside"])
def test_every_text_is_composed_and_free_of_odd_characters(tag, sources):
    for text in _strings(sources[tag]):
        assert unicodedata.is_normalized("NFC", text)
        assert not {c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn")} - {"\n"}, text[:60]
        assert "\ufffd" not in text


@pytest.mark.parametrize("tag", TAGS)
def test_a_language_is_written_in_its_script(tag, sources):
    for page in sources[tag]["page"]:
        assert scripts(page["text"])[languages()[tag].scripts[0]] > 0.95, page["slug"]


@pytest.mark.parametrize("tag", TAGS)
def test_a_site_has_all_that_stands_around_a_text(tag, sources):
    site = sources[tag]["site"]
    assert set(site) == SITE
    assert all(site.values())
    assert site["domain"].endswith(".example"), "reserved by RFC 2606"
    assert all(site["contact"].count(f"{{{kind}}}") == 1 for kind in ("email", "phone", "ip"))
    assert len(site["navigation"]) >= 3


def test_every_site_has_a_domain_of_its_own(sources):
    domains = [sources[tag]["site"]["domain"] for tag in TAGS]
    assert len(set(domains)) == len(TAGS)


@pytest.mark.parametrize("tag", TAGS)
def test_a_language_has_questions_with_answers_of_its_own(tag, sources):
    pairs = sources[tag]["question"]
    assert len(pairs) >= 6
    assert len({pair["question"] for pair in pairs}) == len(pairs)
    assert all(pair["answer"].strip() and pair["question"].strip() for pair in pairs)


def test_conversations_are_as_the_field_writes_them():
    lines = [json.loads(line) for line in (SAMPLE / "chat.jsonl").read_text("utf-8").splitlines()]
    assert {line["language"] for line in lines} == set(TAGS)
    for line in lines:
        assert [message["role"] for message in line["messages"]] == ["user", "assistant"]
        assert all(message["content"].strip() for message in line["messages"])


@pytest.mark.parametrize("tag", TAGS)
def test_the_parallel_text_has_thirty_two_sentences(tag):
    lines = (SAMPLE / "parallel" / f"{tag}.txt").read_text("utf-8").split("\n")
    assert lines.pop() == "", "the last line ends with a line feed"
    assert len(lines) == 32
    assert all(line == line.strip() and line for line in lines)
    assert all(unicodedata.is_normalized("NFC", line) for line in lines)
    assert len(set(lines)) == 32
    assert next(iter(scripts(" ".join(lines)))) == languages()[tag].scripts[0]


def test_parallel_sentences_say_about_as_much():
    english = (SAMPLE / "parallel" / "en.txt").read_text("utf-8").splitlines()
    for tag in TAGS:
        lines = (SAMPLE / "parallel" / f"{tag}.txt").read_text("utf-8").splitlines()
        for number, (one, other) in enumerate(zip(english, lines, strict=True), 1):
            assert 0.4 < len(other) / len(one) < 2.5, (tag, number)


def test_the_parallel_text_is_no_part_of_the_pages(sources):
    for tag in TAGS:
        web = " ".join(page["text"] for page in sources[tag]["page"])
        for line in (SAMPLE / "parallel" / f"{tag}.txt").read_text("utf-8").splitlines():
            assert line not in web


def test_truth_names_pages_that_are_there(sources):
    named = [*TRUTH["exact_duplicates"]["pages"], *TRUTH["near_duplicates"]["pages"], *TRUTH["wrong_claim"]["pages"]]
    named += [name for names in TRUTH["reserved"].values() for name in names]
    assert len(set(named)) == len(named), "a page has one truth"
    for name in named:
        tag, number = name.split("/")
        assert sources[tag]["page"][int(number) - 1]
    assert set(TRUTH["personal_data"]) == set(TAGS)
    assert set(TRUTH["wrong_language"]) == {page["language"] for page in sources["outside"]["page"]}
    assert set(TRUTH["spam"]["sites"]) <= set(TAGS)


def test_personal_data_is_made_up():
    for data in TRUTH["personal_data"].values():
        assert data["email"].endswith(".example")
        assert data["ip"].startswith("203.0.113."), "reserved by RFC 5737"


def test_the_builder_needs_no_package_of_ours():
    spec = importlib.util.spec_from_file_location("sample_builder", SAMPLE / "build.py")
    assert "openeurollm" not in Path(spec.origin).read_text("utf-8").split('"""', 2)[2]
