"""Reads the tensors of a TensorFlow checkpoint, without TensorFlow.

A checkpoint of one shard is two files. The index is a sorted table in the format of LevelDB, in which each tensor's
name leads to a protocol buffer with its element type, shape, offset and size. The other file holds the values.
"""

import struct
from collections.abc import Iterator

import numpy as np

from data.errors import CheckpointError

_TABLE_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_UNCOMPRESSED = 0
# DataType of TensorFlow's types.proto: those that a network and the counters of its optimiser are made of.
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 10: "?"}
# Fields of BundleEntryProto, and of TensorShapeProto and its Dim.
_DTYPE, _SHAPE, _OFFSET, _SIZE = 1, 2, 4, 5
_DIMENSION, _LENGTH = 2, 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_Fields = dict[int, list[int | bytes]]


def read_tensors(index: bytes, values: bytes, *, where: str) -> dict[str, np.ndarray]:
    """Every tensor of a checkpoint by its name, read-only.

    Args:
        index: what `NAME.index` holds.
        values: what `NAME.data-00000-of-00001` holds.
        where: stands at the front of an error's message.

    Raises:
        CheckpointError: this is no such checkpoint, or it is cut short, compressed or of an unknown element type.
    """
    if len(index) < _FOOTER_BYTES or struct.unpack("<Q", index[-8:])[0] != _TABLE_MAGIC:
        raise CheckpointError(f"{where}: is no index of a TensorFlow checkpoint")
    try:
        entries = {name.decode(): _fields(entry) for name, entry in _table(index) if name}  # the header has no name
        return {name: _tensor(entry, values) for name, entry in entries.items()}
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise CheckpointError(f"{where}: is damaged ({error}); fetch it again") from error


def _table(index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the table, in order."""
    footer = index[-_FOOTER_BYTES:]
    place = 0
    handle = []  # offset and size of the index of keys, then of the index of blocks
    for _ in range(4):
        number, place = _varint(footer, place)
        handle.append(number)
    for _, block in _block(index, handle[2], handle[3]):
        offset, place = _varint(block, 0)
        yield from _block(index, offset, _varint(block, place)[0])


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    if table[offset + size] != _UNCOMPRESSED:
        raise ValueError("a block is compressed")
    block = table[offset : offset + size]
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 - 4 * restarts
    place, key = 0, b""
    while place < end:
        shared, place = _varint(block, place)
        rest, place = _varint(block, place)
        length, place = _varint(block, place)
        key = key[:shared] + block[place : place + rest]
        place += rest
        yield key, block[place : place + length]
        place += length


def _tensor(entry: _Fields, values: bytes) -> np.ndarray:
    sides = [side for shape in entry.get(_SHAPE, []) for side in _fields(_as_bytes(shape)).get(_DIMENSION, [])]
    lengths = [_as_int(_fields(_as_bytes(side)).get(_LENGTH, [0])[0]) for side in sides]
    offset, size = (_as_int(entry.get(field, [0])[0]) for field in (_OFFSET, _SIZE))
    dtype = np.dtype(_DTYPES[_as_int(entry[_DTYPE][0])])
    return np.frombuffer(values[offset : offset + size], dtype).reshape(lengths)


def _fields(message: bytes) -> _Fields:
    """The fields of a protocol buffer by their number."""
    fields: _Fields = {}
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        if kind == _VARINT:
            value, place = _varint(message, place)
        else:
            if kind == _BYTES:
                length, place = _varint(message, place)
            else:
                length = {_FIXED32: 4, _FIXED64: 8}[kind]
            value, place = message[place : place + length], place + length
        fields.setdefault(number, []).append(value)
    return fields


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and the place behind it."""
    number = shift = 0
    while True:
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, place


def _as_int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise TypeError("found bytes where a number should be")
    return value


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise TypeError("found a number where a message should be")
    return value
