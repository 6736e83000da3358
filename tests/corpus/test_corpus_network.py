"""The corpus stage on sources over the network: one recipe, an address, a data set of the hub and a crawl."""

import json
from collections import Counter

import pytest
from archives import SAMPLE, html, packed, record, source
from crawls import CRAWL, Crawl
from servers import serving

from openeurollm.corpus import sources
from openeurollm.corpus.document import rows
from openeurollm.corpus.rights import sites
from openeurollm.corpus.sources import archive, remote
from openeurollm.engine import Engine, Reporter
from openeurollm.errors import Failure
from openeurollm.ledger import RunFolder
from openeurollm.recipe import load
from openeurollm.run import plan, run

TERMS = 'licence = "CC0-1.0"\npublisher = "a test"\ndate = 2026\nlanguages = "unknown"\nobtained = "made for it"\n'
RECIPE = f"""
name = "far"
languages = ["mt"]
parallel = "parallel"
[sources.crawl]
kind = "common-crawl"
path = "{CRAWL}"
domains = ["mt"]
endpoint = "ADDRESS"
{TERMS}
[sources.hub]
kind = "huggingface"
path = "org/texts"
{TERMS}
[sources.lines]
kind = "jsonl"
path = "ADDRESS/lines.jsonl"
{TERMS}
[tuning]
conversations = "chat.jsonl"
licence = "CC0-1.0"
[release]
title = "Far"
licence = "Apache-2.0"
publisher = "a test"
contact = "a@test.example"
"""
LINES = (SAMPLE / "parallel" / "mt.txt").read_text("utf-8").splitlines()
TEXTS = [" ".join(LINES[n * 4 : n * 4 + 4]) for n in range(8)]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A server with a crawl, a data set and a file of lines."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENEUROLLM_CACHE", str(tmp_path / "downloads"))
    monkeypatch.setattr(remote, "PAUSE", 0.0)
    with serving() as site:
        monkeypatch.setenv("HF_ENDPOINT", site.address)
        crawl = Crawl(site, lines_a_block=2)
        for number, text in enumerate(TEXTS[:3]):
            crawl.page(f"https://a.mt/{number}", body=html(f"<p>{text}</p>", lang="mt"))
        crawl.page("https://a.mt/lost", filename="crawl-data/warc/lost.warc.gz")
        crawl.publish()
        lines = [json.dumps({"id": f"d{n}", "text": text}).encode() + b"\n" for n, text in enumerate(TEXTS)]
        site.files["/lines.jsonl"] = b"".join(lines[3:6]) + b"no json\n"
        site.files["/api/datasets/org/texts/revision/main"] = b'{"sha": "abc"}'
        listed = [{"type": "file", "path": "data/0.jsonl"}]
        site.files["/api/datasets/org/texts/tree/abc?recursive=true"] = json.dumps(listed).encode()
        site.files["/datasets/org/texts/resolve/abc/data/0.jsonl"] = b"".join(lines[6:])
        yield site


@pytest.fixture
def recipe(site, tmp_path):
    file = tmp_path / "far.toml"
    file.write_text(RECIPE.replace("ADDRESS", site.address), "utf-8")
    (tmp_path / "parallel").mkdir()
    (tmp_path / "parallel" / "mt.txt").write_text("Xejn minn dan ma jinsab f'paġna li jagħmlu t-testijiet.\n", "utf-8")
    (tmp_path / "chat.jsonl").write_text("")
    return load(file)


def _counts(folder):
    total: Counter[str] = Counter()
    for buckets in folder.need("corpus").counts.values():
        total.update(buckets)
    return total


def _texts(folder):
    return sorted(
        row["url"] or row["text"][:40] for path in folder.folder("corpus").glob("mt/*.parquet") for row in rows(path)
    )


def test_a_recipe_over_the_network_gives_a_corpus_and_gives_it_again_without_one(site, recipe, tmp_path):
    folders = [RunFolder(tmp_path / name) for name in ("first", "second")]
    assert [step.build for step in plan(recipe, folders[0], until="corpus")] == [True]
    assert site.asked == [], "a plan fetches nothing"
    run(recipe, folders[0], Engine(2, Reporter(quiet=True)), until="corpus")
    counts = _counts(folders[0])
    assert counts["kept"] + counts["held_out"] == 8, counts
    assert (counts["not_found"], counts["invalid_record"]) == (1, 1)
    asked = len(site.asked)
    assert [step.build for step in plan(recipe, folders[0], until="corpus")] == [False]
    site.for_ever = dict.fromkeys([*site.files, *site.redirects], 503)
    run(recipe, folders[1], Engine(1, Reporter(quiet=True)), until="corpus")
    assert len(site.asked) == asked
    assert _texts(folders[0]) == _texts(folders[1])


def test_a_network_that_is_gone_ends_the_run_in_one_line(site, recipe, tmp_path):
    site.for_ever["/lines.jsonl"] = 503
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Failure, match=r"\S+/lines.jsonl answers 503 [^\n]* run again: what was fetched is kept"):
        run(recipe, folder, Engine(1, Reporter(quiet=True)), until="corpus")
    site.for_ever = {}
    run(recipe, folder, Engine(1, Reporter(quiet=True)), until="corpus")
    assert _counts(folder)["kept"] + _counts(folder)["held_out"] == 8


def test_what_was_fetched_for_a_shard_is_told(site, recipe):
    for name, named in recipe.sources.items():
        [origin] = [
            each
            for shard in sources.shards(name, named)[:1]
            for file in shard.files
            if sources.local(file)
            for each in sources.origins(shard)
        ]
        assert origin["bytes"] > 0 and len(origin["sha256"]) == 64


def test_what_a_site_states_holds_for_its_pages_of_the_crawl(site, tmp_path):
    crawl = Crawl(site, lines_a_block=1)
    for scheme, host in (("https", "closed.mt"), ("https", "open.mt"), ("http", "moved.mt")):
        crawl.page(f"{scheme}://{host}/page")
    crawl.page("https://closed.mt/robots.txt", None, b"User-agent: CCBot\nDisallow: /")
    crawl.page("https://open.mt/robots.txt", None, b"User-agent: *\nAllow: /")
    crawl.page("https://www.moved.mt/robots.txt", None, b"User-agent: *\nDisallow: /page")
    crawl.publish()
    named = source("common-crawl", CRAWL, domains=["mt"], endpoint=site.address)
    files = [sources.local(file) for shard in sources.shards("crawl", named) for file in shard.files]
    captures = (each for file in files for each in archive.responses(file, 100_000, 50))
    sites.gather(captures, tmp_path / "sites.sqlite")
    known = sites.Known(tmp_path / "sites.sqlite")
    for host, rule in (("closed.mt", "Disallow: /"), ("open.mt", "Allow: /"), ("www.moved.mt", "Disallow: /page")):
        stated = known.archived(f"https://{host}/page", "robots.txt", "2026-01-01T00:00:00Z")
        assert stated is not None and rule in stated.text


def test_pages_whose_site_closes_them_are_dropped_also_over_the_network(site, recipe, tmp_path):
    crawl = Crawl(site, lines_a_block=1)
    for number, text in enumerate(TEXTS[:6]):
        host = "closed.mt" if number == 0 else "open.mt"
        crawl.page(f"https://{host}/{number}", body=html(f"<p>{text}</p>", lang="mt"))
    crawl.page("https://closed.mt/robots.txt", None, b"User-agent: CCBot\nDisallow: /")
    crawl.publish()
    closed = record("https://shut.mt/", html(f"<p>{TEXTS[6]}</p>", lang="mt"), tdm_reservation="0")
    robots = record("https://shut.mt/robots.txt", b"User-agent: GPTBot\nDisallow: /", Content_Type="text/plain")
    site.files["/web.warc.gz"] = packed([closed, robots])
    folder = RunFolder(tmp_path / "run")
    web = source("warc", f"{site.address}/web.warc.gz")
    far = recipe.model_copy(update={"sources": {"crawl": recipe.sources["crawl"], "web": web}})
    run(far, folder, Engine(2, Reporter(quiet=True)), until="corpus")
    counts = _counts(folder)
    assert (counts["rights_reserved"], counts["kept"] + counts["held_out"]) == (2, 5), counts
