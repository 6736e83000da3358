"""Build the sample web from its sources: `web.warc.gz` (the pages, with what `truth.toml` plants) and `chat.jsonl`.

    python sample/build.py            write both beside this file
    python sample/build.py --check    exit with 1 where they differ from what the sources say

The same sources give the same records. Only the standard library is needed.
"""

import argparse
import gzip
import hashlib
import html
import json
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CLOSED = "User-agent: GPTBot\nUser-agent: CCBot\nDisallow: /\n\nUser-agent: *\nAllow: /\n"
OPEN = "User-agent: *\nAllow: /\nDisallow: /admin/\n"


@dataclass
class Page:
    """A page to be served: its site's frame, its text, and how it is served."""

    site: dict[str, Any]
    claim: str
    url: str
    title: str
    text: str
    meta: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Write the archive and the conversations, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files that are there, write nothing")
    check = parser.parse_args().check
    sources = load()
    archive, chat = b"".join(records(sources)), conversations(sources)
    packed, lines = HERE / "web.warc.gz", HERE / "chat.jsonl"
    if check:
        with gzip.open(packed) as file:
            fresh = file.read() == archive and lines.read_text("utf-8") == chat
        raise SystemExit(0 if fresh else "sample: web.warc.gz or chat.jsonl is out of date; run python sample/build.py")
    packed.write_bytes(b"".join(gzip.compress(record, 9, mtime=0) for record in records(sources)))
    lines.write_text(chat, "utf-8")


def load() -> dict[str, Any]:
    """The sources by language tag, `outside` for the pages outside the contract."""
    return {path.stem: tomllib.loads(path.read_text("utf-8")) for path in sorted((HERE / "pages").glob("*.toml"))}


def conversations(sources: dict[str, Any]) -> str:
    """Questions and answers as JSON lines with `language` and `messages`."""
    lines = []
    for tag, source in sources.items():
        for pair in source.get("question", []):
            messages = [{"role": "user", "content": pair["question"]}, {"role": "assistant", "content": pair["answer"]}]
            lines.append(json.dumps({"language": tag, "messages": messages}, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def records(sources: dict[str, Any]) -> Iterator[bytes]:
    """The archive's records: first each host's robots.txt, then the pages."""
    truth = tomllib.loads((HERE / "truth.toml").read_text("utf-8"))
    served = list(pages(sources, truth))
    date, closed = truth["fetched"], {host_of(place(sources, name)) for name in truth["reserved"]["robots"]}
    for host in sorted({host_of(page.url) for page in served}):
        rules = CLOSED if host in closed else OPEN
        yield record(f"https://{host}/robots.txt", date, {"Content-Type": "text/plain"}, rules.encode())
    for page in served:
        headers = {"Content-Type": "text/html; charset=utf-8", **page.headers}
        yield record(page.url, date, headers, markup(page).encode())


def pages(sources: dict[str, Any], truth: dict[str, Any]) -> Iterator[Page]:
    """Every page of the sample web, in a fixed order."""
    reserved = {name: signal for signal, names in truth["reserved"].items() for name in names}
    moved = truth["wrong_claim"]["pages"]
    for tag, source in sources.items():
        if tag == "outside":
            continue
        for number, page in enumerate(source["page"], 1):
            name = f"{tag}/{number}"
            host = moved.get(name, tag)
            site = sources[host]["site"]
            url = place(sources, name) if name in reserved else f"https://{site['domain']}/{page['slug']}"
            text = page["text"].strip()
            if number == 1:
                text += "\n\n" + source["site"]["contact"].format(**truth["personal_data"][tag])
            made = Page(site, host, url, page["title"], text)
            reserve(made, reserved.get(name, ""))
            yield made
    for name in truth["exact_duplicates"]["pages"]:
        source, page = find(sources, name)
        yield Page(
            source["site"], name.split("/")[0], mirror(truth, name, page), page["title"], body(sources, truth, name)
        )
    for name in truth["near_duplicates"]["pages"]:
        source, page = find(sources, name)
        text = without_last_sentence(body(sources, truth, name))
        yield Page(source["site"], name.split("/")[0], mirror(truth, name, page), source["site"]["name"], text)
    for tag in truth["spam"]["sites"]:
        site = sources[tag]["site"]
        text = "\n\n".join(" ".join([site["spam"]] * 6) for _ in range(5))
        yield Page(site, tag, f"https://{site['domain']}/super", site["spam"], text)
    for page in sources["outside"]["page"]:
        tag = truth["wrong_language"][page["language"]]
        site = sources[tag]["site"]
        yield Page(site, tag, f"https://{site['domain']}/{page['slug']}", page["title"], page["text"].strip())


def find(sources: dict[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The source and the page that TAG/N names."""
    tag, number = name.split("/")
    return sources[tag], sources[tag]["page"][int(number) - 1]


def place(sources: dict[str, Any], name: str) -> str:
    """The address of a page whose rights are reserved: a host of its own, so that robots.txt closes nothing else."""
    source, page = find(sources, name)
    return f"https://{name.split('/')[0].lower()}.{source['site']['domain']}/{page['slug']}"


def body(sources: dict[str, Any], truth: dict[str, Any], name: str) -> str:
    """The text of a page as it is served at its first address."""
    source, page = find(sources, name)
    tag, number = name.split("/")
    contact = "\n\n" + source["site"]["contact"].format(**truth["personal_data"][tag]) if number == "1" else ""
    return str(page["text"].strip() + contact)


def mirror(truth: dict[str, Any], name: str, page: dict[str, Any]) -> str:
    """The address of a copy."""
    return f"https://{truth['mirror']}/{name.split('/')[0].lower()}/{page['slug']}"


def without_last_sentence(text: str) -> str:
    """The text up to its last sentence but one, in any of the scripts' full stops."""
    ends = [at for at, letter in enumerate(text[:-1]) if letter in ".!?։" and text[at + 1] in " \n"]
    return text[: ends[-1] + 1] if ends else text


def reserve(page: Page, signal: str) -> None:
    """Serve the page with a reservation of rights; robots.txt is the host's."""
    if signal == "tdm_header":
        page.headers["TDM-Reservation"] = "1"
    elif signal == "tdm_meta":
        page.meta = '<meta name="tdm-reservation" content="1">'
    elif signal == "noai_header":
        page.headers["X-Robots-Tag"] = "noai, noimageai"
    elif signal == "noai_meta":
        page.meta = '<meta name="robots" content="index, noai">'


def host_of(url: str) -> str:
    """The host of an address."""
    return url.split("/")[2]


def markup(page: Page) -> str:
    """The page as HTML, in one of three layouts, with navigation, cookie banner and footer around the text."""
    site, escape = page.site, html.escape
    paragraphs = "\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in page.text.split("\n\n"))
    links = [f'<a href="/{number}">{escape(label)}</a>' for number, label in enumerate(site["navigation"])]
    banner = (
        f'<div class="cookie-banner" role="dialog"><p>{escape(site["cookie_banner"])}</p>'
        f"<button>{escape(site['cookie_accept'])}</button><button>{escape(site['cookie_reject'])}</button></div>"
    )
    title, name, footer = escape(page.title), escape(site["name"]), f"<footer><p>{escape(site['footer'])}</p></footer>"
    layout = hashlib.sha256(page.url.encode()).digest()[0] % 3
    if layout == 0:
        items = "".join(f"<li>{link}</li>" for link in links)
        nav = f"<header><strong>{name}</strong><nav><ul>{items}</ul></nav></header>"
        content = f"{banner}{nav}<main><article><h1>{title}</h1>\n{paragraphs}</article></main>{footer}"
    elif layout == 1:
        nav = f'<div id="menu" class="menu">{" | ".join(links)}</div>'
        aside = (
            f'<div class="sidebar"><h3>{name}</h3><ul>{"".join(f"<li>{link}</li>" for link in links[1:])}</ul></div>'
        )
        content = f'{nav}<div id="content" class="content"><h1>{title}</h1>\n{paragraphs}</div>{aside}{footer}{banner}'
    else:
        nav = f'<nav class="breadcrumb">{" › ".join(links[:3])}</nav>'
        post = f'<section class="post"><h1>{title}</h1>\n{paragraphs}</section>'
        content = f'<div class="wrapper"><h2>{name}</h2>{nav}{post}</div>{footer}{banner}'
    head = f'<meta charset="utf-8">{page.meta}<title>{title} – {name}</title>'
    return f'<!DOCTYPE html>\n<html lang="{page.claim}"><head>{head}</head>\n<body>{content}</body></html>\n'


def record(url: str, date: str, headers: dict[str, str], content: bytes) -> bytes:
    """A WARC response record (ISO 28500)."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    http = f"HTTP/1.1 200 OK\r\n{fields}Content-Length: {len(content)}\r\n\r\n".encode() + content
    head = (
        "WARC/1.1\r\nWARC-Type: response\r\n"
        f"WARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url)}>\r\n"
        f"WARC-Target-URI: {url}\r\nWARC-Date: {date}\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return head.encode() + http + b"\r\n\r\n"


if __name__ == "__main__":
    main()
