"""Memory-mapped arrays that keep no file open, so that an index may have more shards than a process may open files."""

import ctypes
import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int),
    ctypes.c_long,  # off_t on 64 bits
)
_LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value


def map_npy(path: Path) -> npt.NDArray[Any]:
    """The array of an .npy file, read from disk where it is looked at; read-only, unmapped with its last view.

    Python's own `mmap`, and `numpy.memmap` with it, holds a descriptor for as long as the array lives (`trackfd=False`
    came with 3.13).

    Raises:
        OSError: the file cannot be opened or mapped.
        ValueError: it is no .npy file of numbers in C order, or shorter than it says.
    """
    with path.open("rb") as file:
        version = npy.read_magic(file)
        if version != (1, 0):
            raise ValueError(f".npy version {version}")
        shape, in_fortran_order, dtype = npy.read_array_header_1_0(file)
        offset, size = file.tell(), os.fstat(file.fileno()).st_size
        if in_fortran_order or dtype.hasobject:
            raise ValueError("not an array of numbers in C order")
        if offset + dtype.itemsize * int(np.prod(shape, dtype=object)) > size:
            raise ValueError("shorter than its header says")
        buffer = _map(file.fileno(), size)
    # Read-only: whoever wrote into it would end the process.
    return np.ndarray(shape, dtype, buffer=memoryview(buffer).toreadonly(), offset=offset)


def _map(descriptor: int, size: int) -> ctypes.Array[ctypes.c_char]:
    address = _LIBC.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == _FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    buffer = (ctypes.c_char * size).from_address(address)
    # Not at exit, where threads may still be reading.
    weakref.finalize(buffer, _LIBC.munmap, address, size).atexit = False
    return buffer
