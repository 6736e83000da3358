"""Reading web archives (WARC, WARC.gz) from strangers: bounded, resynchronised after damage, every loss counted."""

import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecordType

_CHUNK = 1 << 18
_MAGIC = b"\x1f\x8b\x08"
_SLACK = 64 * 1024 * 1024
"""Bytes an archive may always unpack to, however small it is; members larger than this wait on disk, not in memory."""


@dataclass(frozen=True)
class Response:
    """A captured HTTP response: `body` as sent (chunking undone), header names in lower case.

    `problem` names the bucket of a record whose body could not be read whole (`truncated`, `corrupt`, `too_large`,
    `unpacks_too_far`); its body is then empty.
    """

    url: str = ""
    date: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    problem: str = ""


def responses(path: Path, max_body: int, max_unpacking: int) -> Iterator[Response]:
    """Every response record in the archive; an unreadable piece comes as a response with a `problem`.

    Bodies over `max_body` bytes are not held; an archive that unpacks to over `max_unpacking` times its size is read no
    further. Raises `OSError` where the file itself cannot be read.
    """
    with open(path, "rb") as file:
        compressed = file.read(3) == _MAGIC
        file.seek(0)
        if compressed:
            for member in _members(file, max(_SLACK, path.stat().st_size * max_unpacking)):
                if isinstance(member, str):
                    yield Response(problem=member)
                else:
                    yield from _records(member, max_body)
        else:
            yield from _records(file, max_body)


def _records(stream: IO[bytes], max_body: int) -> Iterator[Response]:
    try:
        for record in ArchiveIterator(
            stream,
            WarcRecordType.response,
            parse_http=True,
            auto_decode="all",
            quirks_mode=True,
            stream_detect=False,
        ):
            yield _response(record, max_body)
    except Exception:
        yield Response(problem="corrupt")
    except BaseException as panic:  # FastWARC is Rust; a panic in it is no Exception
        if type(panic).__name__ != "PanicException":
            raise
        yield Response(problem="corrupt")


def _response(record: object, max_body: int) -> Response:
    headers, http = record.headers, record.http_headers  # type: ignore[attr-defined]
    url, date = headers.get("WARC-Target-URI") or "", headers.get("WARC-Date") or ""
    expected = int(record.content_length)  # type: ignore[attr-defined]
    body = record.reader.read(max_body + 1)  # type: ignore[attr-defined]
    fields = {name.lower(): value for name, value in http.items()} if http else {}
    status = int(http.status_code or 0) if http else 0
    if len(body) > max_body:
        return Response(url, date, status, fields, problem="too_large")
    encoded = "content-encoding" in fields or "transfer-encoding" in fields
    if len(body) < expected and not encoded:
        return Response(url, date, status, fields, problem="truncated")
    return Response(url, date, status, fields, body)


def _members(file: BinaryIO, limit: int) -> Iterator[IO[bytes] | str]:
    """The members of a gzip file, each unpacked into a file of its own; a damaged one as the name of its damage.

    Most archives hold one record a member; one that is a single large member is unpacked to disk, up to `limit` bytes
    in all.
    """
    data, left = file.read(_CHUNK), limit
    while data:
        unpacker = zlib.decompressobj(31)
        with tempfile.SpooledTemporaryFile(max_size=_SLACK) as member:
            damage = ""
            while not unpacker.eof:
                if not data:
                    data = file.read(_CHUNK)
                    if not data:
                        damage = "truncated"
                        break
                try:
                    piece = unpacker.decompress(data, _CHUNK)
                except zlib.error:
                    damage = "corrupt"
                    break
                left -= len(piece)
                if left < 0:
                    yield "unpacks_too_far"
                    return
                member.write(piece)
                data = unpacker.unconsumed_tail
            if damage:
                yield damage
                data = _after_damage(file, data)
            else:
                member.seek(0)
                yield member
                data = unpacker.unused_data or file.read(_CHUNK)


def _after_damage(file: BinaryIO, data: bytes) -> bytes:
    """The input from the next gzip member on; empty where there is none."""
    data = data[1:]
    while (at := data.find(_MAGIC)) < 0:
        more = file.read(_CHUNK)
        if not more:
            return b""
        data = data[-2:] + more
    return data[at:]
