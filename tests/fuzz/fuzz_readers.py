"""A file of a source: the first byte says of which kind, the rest is its content."""

import gzip
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from openeurollm.corpus.sources import Shard, read
from openeurollm.corpus.sources.archive import conversions, responses
from openeurollm.corpus.sources.parallel_text import tmx, tsv
from openeurollm.corpus.sources.parquet import rows
from openeurollm.corpus.sources.records import json_lines
from openeurollm.errors import BadInput
from openeurollm.recipe import Corpus, Source

KINDS = (("warc", ".warc"), ("warc", ".warc.gz"), ("wet", ".wet"), ("jsonl", ".jsonl"), ("hplt", ".jsonl.gz"),
         ("tmx", ".tmx"), ("tsv", ".tsv"), ("text", ".txt"), ("html", ".html"), ("parquet", ".parquet"))  # fmt: skip
_WARC = (
    b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://a.example/\r\nContent-Length: 60\r\n"
    b"Content-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>Bonjour</p>\r\n\r\n"
)
_LINE = json.dumps({"text": "Ħelow dinja", "lang": ["mlt_Latn"], "u": "https://a.example/", "id": 1}).encode() + b"\n"
_TMX = (
    b'<tmx><body><tu><tuv xml:lang="mt"><seg>Iva</seg></tuv><tuv xml:lang="en"><seg>Yes</seg></tuv></tu></body></tmx>'
)
_TABLE = pa.BufferOutputStream()
pq.write_table(pa.table({"text": ["Ħelow dinja"] * 3, "lang": [["mlt_Latn"]] * 3}), _TABLE, compression="none")
SEEDS = (
    b"\0" + _WARC, b"\1" + gzip.compress(_WARC, mtime=0), b"\2" + _WARC.replace(b"response", b"conversion"),
    b"\3" + _LINE, b"\4" + gzip.compress(_LINE, mtime=0), b"\5" + _TMX, b"\6one\ttwo\n", b"\7\xff\xfea\0", b"\x08<p>x",
    b"\x09" + _TABLE.getvalue().to_pybytes(),
)  # fmt: skip
EXPLORED = (conversions, responses, json_lines, tmx, tsv, rows)


def target(data: bytes) -> None:
    kind, ending = KINDS[data[0] % len(KINDS)] if data else KINDS[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"file{ending}"
        file.write_bytes(data[1:])
        source = Source(
            kind=kind, path=file, licence="CC0-1.0", publisher="a test", date="2026", languages="unknown",
            obtained="made for it", columns=("mt", "en") if kind == "tsv" else (),
        )  # fmt: skip
        try:
            for found in read(Shard("fuzz", (file,)), source, Corpus()):
                assert found.problem or found.page is not None or isinstance(found.text, str)
                found.id.encode()
        except BadInput:
            pass
