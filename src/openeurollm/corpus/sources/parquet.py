"""Parquet from strangers, row by row: what its pages say they unpack to is looked at before any of them is unpacked."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openeurollm.corpus.sources.packed import Damaged, allowance

_MAX_FOOTER, _MAX_ITEMS = 16 << 20, 1_000_000
"""Bytes in which a file says what is in it, and the longest list there (Arrow's own bound)."""
_MAX_PAGE, _MAX_PAGE_VALUES = 512 << 20, 10_000_000
"""Bytes and values of a page, which is unpacked as one; a run of equal values takes next to no space."""
_BATCH_BYTES, _BATCH_ROWS = 256 << 20, 256
"""Rows that are read at a time, fewer where a dictionary holds a value that all of them may be."""
_LEAST = 64
"""Bytes that a row and a page count at least, so that those of nothing come to an end."""
_MAX_VALUE = 64 << 10
"""Bytes of a value beside the text; longer ones are left out."""
_BUFFER = 1 << 18
_MAX_FIELDS, _MAX_DEPTH = 50, 8
_DICTIONARY = 2
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12
"""Kinds of fields in Thrift's compact protocol; one of another kind than its number has in Parquet is none to Arrow."""
_LISTS: dict[tuple[int, ...], int] = {
    **{(number,): _STRUCT for number in (2, 4, 5, 7)},
    **{(4, number): _STRUCT for number in (1, 4)},
    **{(4, 1, 3, number): kind for number, kind in ((2, _I32), (3, _BINARY), (8, _STRUCT), (13, _STRUCT))},
    **{(4, 1, 3, 16, number): _I64 for number in (2, 3)},
    (4, 1, 3, 17, 2): _I32,
    (4, 1, 8, 2, 1): _BINARY,
}
"""What the lists of a footer hold, by the numbers of the fields they are in: Arrow takes it for granted."""
_FOOTER: tuple[int, ...] = ()
_PAGE = (0,)


def rows(
    file: Path, text: str, others: Collection[str], most: int, max_unpacking: int
) -> Iterator[tuple[int, dict[str, bytes | str | None]]]:
    """For each row the bytes of its text (-1 where it has none) and its values by column.

    The column `text` comes as bytes, or None where they are over `most`; those of `others` that are there come as text,
    lists as their first item. Raises `KeyError` with the names of the columns where `text` is none of them, `Damaged`
    at what cannot be read and before more than `max_unpacking` times the file's size is unpacked.
    """
    try:
        yield from _rows(file, text, others, most, allowance(file, max_unpacking))
    except (OSError, pa.ArrowException, ValueError, ArithmeticError, MemoryError):
        raise Damaged("corrupt") from None


def _rows(
    file: Path, text: str, others: Collection[str], most: int, left: int
) -> Iterator[tuple[int, dict[str, bytes | str | None]]]:
    groups = _groups(file)
    metadata = pq.read_metadata(file)
    if [len(group) for group in groups] != [metadata.num_columns] * metadata.num_row_groups:
        raise Damaged("corrupt")
    paths = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    leaves = _leaves(metadata.schema.to_arrow_schema(), paths, text, others)
    read = [number for number, path in enumerate(paths) if path in leaves.values()]
    lists = [leaf for column, leaf in leaves.items() if column != leaf]
    with (
        open(file, "rb") as raw,
        pq.ParquetFile(file, metadata=metadata, buffer_size=_BUFFER, pre_buffer=False, read_dictionary=lists) as table,
    ):
        rows_left = metadata.num_rows
        for group, chunks in enumerate(groups):
            unpacked, largest = _measured(raw, [chunks[number] for number in read], left)
            left, number = left - unpacked, 0
            at_a_time = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, largest)))
            for batch in table.iter_batches(at_a_time, row_groups=[group], columns=list(leaves), use_threads=False):
                for size, row in _of_batch(batch, text, most):
                    left, number = left - max(size, _LEAST), number + 1
                    if left < 0:
                        raise Damaged("unpacks_too_far")
                    yield size, row
            if number != metadata.row_group(group).num_rows:
                raise Damaged("corrupt")
            rows_left -= number
    if rows_left:
        raise Damaged("corrupt")


def _groups(file: Path) -> list[list["_Chunk"]]:
    """Where the columns of each row group are, in their order, by the footer.

    Arrow ends the process at some damaged ones when it is asked.

    https://parquet.apache.org/docs/file-format/metadata
    """
    with open(file, "rb") as raw:
        size = raw.seek(0, 2)
        raw.seek(max(0, size - 8))
        length = int.from_bytes(raw.read(4), "little")
        if not 0 < length <= size - 8:
            raise Damaged("corrupt")
        if length > _MAX_FOOTER:
            raise Damaged("too_large")
        raw.seek(size - 8 - length)
        footer = _struct(BytesIO(raw.read(length)), _FOOTER)
    return [[_chunk(column) for column in _list(group, 1)] for group in _list(footer, 4)]


@dataclass(frozen=True)
class _Chunk:
    """The pages of one column in one row group: where they begin, their bytes as they are stored, their values."""

    start: int
    length: int
    values: int


def _chunk(column: "Field") -> _Chunk:
    told = column.get((3, _STRUCT)) if isinstance(column, dict) else None
    values, length, start, dictionary = (_number(told, number) for number in (5, 7, 9, 11))
    return _Chunk(dictionary if 0 < dictionary < start else start, length, values)


def _list(fields: "Field", number: int) -> list["Field"]:
    if not isinstance(fields, dict):
        raise Damaged("corrupt")
    items = fields.get((number, _LIST))
    return items if isinstance(items, list) else []


def _number(fields: "Field", number: int) -> int:
    if not isinstance(fields, dict):
        raise Damaged("corrupt")
    value = fields.get((number, _I64))
    return value if isinstance(value, int) else 0


def _leaves(schema: pa.Schema, paths: Collection[str], text: str, others: Collection[str]) -> dict[str, str]:
    """The wanted columns and where their values are stored: in themselves, or of a list of text in its items."""
    if text not in schema.names:
        raise KeyError(schema.names)
    if schema.names.count(text) > 1 or pa.types.is_nested(schema.field(text).type):
        raise Damaged("invalid_record")
    leaves = {text: text}
    for column in others:
        kind = schema.field(column).type if schema.names.count(column) == 1 else pa.null()
        if not pa.types.is_nested(kind) and not pa.types.is_null(kind):
            leaves[column] = column
        elif pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
            leaves[column] = next(path for path in paths if path.startswith(f"{column}."))
    return leaves


def _of_batch(batch: pa.RecordBatch, text: str, most: int) -> Iterator[tuple[int, dict[str, bytes | str | None]]]:
    texts = _bytes(batch.column(text))
    sizes = pc.fill_null(pc.binary_length(texts), -1).to_pylist()
    others = {column: _values(batch.column(column)) for column in batch.schema.names if column != text}
    for number, size in enumerate(sizes):
        row = {column: values[number] for column, values in others.items()}
        yield size, {**row, text: texts[number].as_py() if size <= most else None}


def _values(column: pa.Array) -> list[str | None]:
    if pa.types.is_list(column.type):
        _check_dictionary(column.values)
        return [first[0] if first else None for first in pc.list_slice(column, 0, 1).to_pylist()]
    data = _bytes(column)
    short = pc.if_else(pc.greater(pc.binary_length(data), _MAX_VALUE), None, data)
    return [None if value is None else value.decode("utf-8", "replace") for value in short.to_pylist()]


def _bytes(column: pa.Array) -> pa.Array:
    """The column as bytes: of text in UTF-8, of numbers and dates as they are written."""
    if pa.types.is_dictionary(column.type):
        _check_dictionary(column)
        column = column.dictionary_decode()
    if pa.types.is_primitive(column.type) or pa.types.is_decimal(column.type):
        column = column.cast(pa.string())
    return column.cast(pa.large_binary())


def _check_dictionary(column: pa.DictionaryArray) -> None:
    """Raise `Damaged` where a value is none of the dictionary's: Arrow would read whatever lies behind it."""
    least, most = pc.min_max(column.indices).values()
    if least.is_valid and not 0 <= least.as_py() <= most.as_py() < len(column.dictionary):
        raise Damaged("corrupt")


def _measured(raw: BinaryIO, chunks: Collection[_Chunk], left: int) -> tuple[int, int]:
    """Bytes that columns of a row group unpack to, at most `left`, and those of the largest dictionary."""
    unpacked = largest = 0
    for chunk in chunks:
        for kind, size, values in _pages(raw, chunk):
            unpacked += max(size, _LEAST)
            if unpacked > left:
                raise Damaged("unpacks_too_far")
            if size > _MAX_PAGE or values > _MAX_PAGE_VALUES:
                raise Damaged("too_large")
            largest = max(largest, size if kind == _DICTIONARY else 0)
    return unpacked, largest


def _pages(raw: BinaryIO, chunk: _Chunk) -> Iterator[tuple[int, int, int]]:
    """Kind, bytes when unpacked and number of values of each page of a column chunk, from the pages' own headers.

    The file's footer says these too, but Arrow goes by the headers.
    """
    place, values = chunk.start, 0
    while place < chunk.start + chunk.length and values < chunk.values:
        raw.seek(place)
        header = _struct(raw, _PAGE)
        kind, unpacked, packed = (header.get((number, _I32)) for number in (1, 2, 3))
        data = header.get((5, _STRUCT)) or header.get((8, _STRUCT)) or {}
        number = data.get((1, _I32)) if isinstance(data, dict) else None
        if not (isinstance(unpacked, int) and isinstance(packed, int) and unpacked >= 0 and packed >= 0):
            raise Damaged("corrupt")
        place, number = raw.tell() + packed, number if isinstance(number, int) else 0
        values += number
        yield kind if isinstance(kind, int) else -1, unpacked, number


Field = int | bytes | list["Field"] | dict[tuple[int, int], "Field"] | None


def _struct(raw: BinaryIO, path: tuple[int, ...]) -> dict[tuple[int, int], Field]:
    """The fields of a structure by number and kind, as Thrift's compact protocol writes them, each at most once.

    `path` has the numbers of the fields that it lies in. A list of other things than Parquet has there is refused.

    https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
    """
    fields: dict[tuple[int, int], Field] = {}
    number = 0
    for _ in range(_MAX_FIELDS):
        head = _byte(raw)
        if not head:
            return fields
        step, kind = head >> 4, head & 15
        number = number + step if step else _integer(raw, 16)
        if (number, kind) in fields:
            break
        fields[number, kind] = kind == 1 if kind in (1, 2) else _field(raw, kind, (*path, number))
    raise Damaged("corrupt")


def _field(raw: BinaryIO, kind: int, path: tuple[int, ...]) -> Field:
    if kind in (4, _I32, _I64):
        return _integer(raw, {4: 16, _I32: 32}.get(kind, 64))
    if kind == _BINARY:
        return raw.read(min(_varint(raw), _MAX_FOOTER))
    if kind == _LIST and len(path) <= _MAX_DEPTH:
        return _items(raw, path)
    if kind == _STRUCT and len(path) <= _MAX_DEPTH:
        return _struct(raw, path)
    if kind not in (1, 2, 3, 7) or not raw.read(8 if kind == 7 else 1):
        raise Damaged("corrupt")
    return None


def _items(raw: BinaryIO, path: tuple[int, ...]) -> list[Field]:
    head = _byte(raw)
    number, kind = head >> 4 if head < 0xF0 else _varint(raw), head & 15
    if number > _MAX_ITEMS or kind == _LIST or kind != _LISTS.get(path, kind):
        raise Damaged("corrupt")
    return [_field(raw, kind, path) for _ in range(number)]


def _integer(raw: BinaryIO, bits: int) -> int:
    value = _varint(raw)
    if value >> bits:
        raise Damaged("corrupt")
    return (value >> 1) ^ -(value & 1)


def _varint(raw: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = _byte(raw)
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise Damaged("corrupt")


def _byte(raw: BinaryIO) -> int:
    byte = raw.read(1)
    if not byte:
        raise Damaged("corrupt")
    return byte[0]
