"""Today's robots.txt and tdmrep.json of many sites, fetched politely into one file that a recipe can name.

What a site answers is bounded in bytes, redirects, attempts and time. Addresses that are not public (loopback, private
networks, a cloud's metadata) are not connected to, wherever a name or a redirect leads.
"""

import asyncio
import hashlib
import ipaddress
import os
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from socket import SOCK_STREAM
from typing import Any
from urllib.parse import quote, urlsplit

import httpcore

from openeurollm import __version__
from openeurollm.corpus import document
from openeurollm.corpus.rights.sites import (
    FILES,
    MOST_BYTES,
    MOST_REDIRECTS,
    REDIRECTS,
    Capture,
    add,
    adding,
    origin_of,
    target,
    text_of,
)
from openeurollm.errors import BadInput
from openeurollm.ledger import now

_ATTEMPTS = 3
_PAUSE = 1.0
"""Seconds before a second attempt, doubled before the third."""
_DEADLINE = 30.0
"""Seconds that one answer may take in all, however slowly it comes."""
_ADDRESSES = 3
"""Addresses of one host that are tried."""
_BUSY = (429, 503)
_PACKED = (b"gzip", b"x-gzip", b"deflate")
_FAULTS = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError, ValueError, zlib.error)
_LINE = 2_000
_ANSWERS = (
    "SELECT file, status, count(*) FROM (SELECT file, max(status) AS status FROM capture GROUP BY origin, file)"
    " GROUP BY file, status"
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Manners:
    """How sites are asked: so many at a time (each with one request at a time), under a name with a `contact` for their
    owners, and whether addresses that are not public may be asked, as tests do.
    """

    at_a_time: int = 32
    contact: str = ""
    allow_private: bool = False

    @property
    def agent(self) -> str:
        """The name that sites are asked under."""
        return f"OpenEuroLLM/{__version__}" + (f" (+{self.contact})" if self.contact else "")


def snapshot(
    origins: Iterable[str],
    path: Path,
    manners: Manners,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Counter[tuple[str, int]]:
    """Fetch the site files of all origins into `path`; returns how many answers of each file had which status, 0 for
    none.

    `path` appears when it is whole. Until then a hidden file beside it holds what is there, and the next call goes on
    from it. `told` hears how many sites are done, of how many. Raises `BadInput` where `path` exists.
    """
    if path.exists():
        raise BadInput(f"{path}: exists; a snapshot is never changed, name another file or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    with adding(partial) as captures:
        # In an order that scatters the hosts of one provider.
        ordered = sorted(set(origins), key=lambda origin: hashlib.sha256(origin.encode()).digest())
        asyncio.run(_all(ordered, captures, manners, told))
        answers = Counter({(file, status): number for file, status, number in captures.execute(_ANSWERS)})
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    return answers


def origins(path: Path) -> set[str]:
    """The sites of a run's corpus, or those that a text file names, an address or a host a line.

    Raises `BadInput` where there are none, or for a line that is neither.
    """
    if path.is_dir():
        urls = (row["url"] for file in sorted(path.glob("corpus/*/*.parquet")) for row in document.rows(file, ["url"]))
        found = {origin for origin in map(_origin, urls) if origin}
    else:
        found = set(_listed(path))
    if not found:
        raise BadInput(f"{path}: names no site; give the folder of a run with a corpus, or a list of hosts")
    return found


def _origin(url: str | None) -> str | None:
    try:
        return origin_of(url or "")
    except ValueError:
        return None


def _listed(path: Path) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8-sig") as lines:
            number = 0
            while line := lines.readline(_LINE):
                number += 1
                name = line.strip()
                if name and not name.startswith("#"):
                    yield origin_of(name if "://" in name else f"https://{name}")
    except FileNotFoundError:
        raise BadInput(f"{path}: no such run or list of hosts") from None
    except ValueError:
        raise BadInput(f"{path}: line {number} is no host or address") from None


async def _all(
    origins: list[str], captures: sqlite3.Connection, manners: Manners, told: Callable[[int, int], None]
) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(manners.at_a_time))  # names are looked up there
    waiting, done = iter(origins), 0

    async def work(pool: httpcore.AsyncConnectionPool) -> None:
        nonlocal done
        for origin in waiting:
            for address, file in FILES.items():
                if not _answered(captures, origin, file):
                    add(captures, origin, file, await _capture(pool, origin + address, manners))
            captures.commit()
            done += 1
            told(done, len(origins))

    async with httpcore.AsyncConnectionPool(
        max_connections=2 * manners.at_a_time,
        max_keepalive_connections=manners.at_a_time,
        keepalive_expiry=5,
        network_backend=_Guarded(manners.allow_private),
    ) as pool:
        await asyncio.gather(*(work(pool) for _ in range(manners.at_a_time)))


def _answered(captures: sqlite3.Connection, origin: str, file: str) -> bool:
    found = captures.execute("SELECT max(status) FROM capture WHERE origin = ? AND file = ?", (origin, file)).fetchone()
    return bool(found[0])


async def _capture(pool: httpcore.AsyncConnectionPool, url: str, manners: Manners) -> Capture:
    """A site's answer for one file, redirects followed."""
    status, text = 0, ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            await asyncio.sleep(_PAUSE * 2 ** (attempt - 1))
        try:
            status, text = await _followed(pool, url, manners)
        except _Refused:
            break
        except _FAULTS:
            continue
        if status not in _BUSY:
            break
    return Capture(now(), status, text)


async def _followed(pool: httpcore.AsyncConnectionPool, url: str, manners: Manners) -> tuple[int, str]:
    async with asyncio.timeout(_DEADLINE):
        for _ in range(MOST_REDIRECTS + 1):
            status, text = await _get(pool, url, manners)
            if status not in REDIRECTS:
                return status, text
            url = target(url, text)
            origin_of(url)  # raises where it leads out of the web
        return status, url


async def _get(pool: httpcore.AsyncConnectionPool, url: str, manners: Manners) -> tuple[int, str]:
    """Status, and text where the status is 200, or the place that a redirect names."""
    headers: dict[bytes | str, bytes | str] = {"User-Agent": manners.agent, "Accept-Encoding": "gzip"}
    limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), _DEADLINE)}
    host = origin_of(url)
    async with pool.stream("GET", host + _quoted(url), headers=headers, extensions=limits) as answer:
        fields = {name.lower(): value for name, value in answer.headers}
        if answer.status in REDIRECTS:
            return answer.status, fields.get(b"location", b"").decode("utf-8", "replace")
        if answer.status != 200:
            return answer.status, ""
        packed = fields.get(b"content-encoding", b"").strip().lower() in _PACKED
        return answer.status, text_of(await _read(answer, packed))


def _quoted(url: str) -> str:
    """Path and query of an address, in ASCII."""
    address = urlsplit(url)
    path = quote(address.path or "/", safe="/%:@!$&'()*+,;=~")
    return f"{path}?{quote(address.query, safe='/%:@!$&()*+,;=~?')}" if address.query else path


async def _read(answer: httpcore.Response, packed: bool) -> bytes:
    unpacker, body = zlib.decompressobj(47), bytearray()
    async for piece in answer.aiter_stream():
        body += unpacker.decompress(piece, MOST_BYTES + 1 - len(body)) if packed else piece
        if len(body) > MOST_BYTES:
            break
    return bytes(body)


class _Refused(OSError):
    """The name leads to no public address."""


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connections to public addresses only; the address that was judged is the one that is connected to."""

    def __init__(self, allow_private: bool) -> None:
        self._inner, self._allow_private = httpcore.AnyIOBackend(), allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one of the host's public addresses; raises `OSError` where it has none."""
        found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), port, type=SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found if self._allow_private or _public(str(each[4][0]))]
        if not addresses:
            raise _Refused(f"{host}: no public address")
        for address in addresses[:_ADDRESSES]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.NetworkError as error:
                fault = error
        raise fault

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._inner.sleep(seconds)


def _public(text: str) -> bool:
    """Whether an address is one of the public internet, also where it holds another address inside."""
    address = ipaddress.ip_address(text)
    inside: list[Any] = []
    if isinstance(address, ipaddress.IPv6Address):
        inside = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inside.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return all(each.is_global and not each.is_multicast for each in [address, *inside] if each is not None)
