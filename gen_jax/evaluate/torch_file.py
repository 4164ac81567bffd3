"""State dictionaries of PyTorch, read without PyTorch and without running anything that a file says.

The two formats of ``torch.save``:

(1) since 2020 a zip archive, stored and not compressed: ``NAME/data.pkl``, and the numbers of storage ``K`` in
    ``NAME/data/K``;
(2) before, five pickles in a row (a magic number, a protocol, facts about the system, the object, the names of its
    storages) and then, for each storage, its length in 8 bytes, little-endian, and its numbers.

In both the object is a pickle, which ``torch_program`` follows as far as a dictionary of tensors goes. Whatever a
file announces, no more memory is asked for than a few times what it holds.
"""

import io
import math
import pathlib
import struct
import zipfile
from io import BufferedReader
from typing import Any

import numpy as np

from gen_jax.evaluate.torch_program import Storage, Tensor, TorchFileError, kind_of, run
from gen_jax.reading import UnfitFileError, open_regular, open_zip, said, size_of

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MOST_BYTES = 1 << 33
_PROGRAM_BYTES = 1 << 24  # of a pickle, which holds names and shapes but no numbers
_COPIES = 4  # of its numbers that a file may ask for, by names of shared or overlapping tensors

# What zipfile and pickletools raise for contents that make no sense.
_DAMAGE = (zipfile.BadZipFile, OSError, EOFError, LookupError, ValueError, TypeError, RuntimeError, struct.error)


def read_torch_file(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a file that ``torch.save(model.state_dict(), path)`` wrote, by name.

    Args:
      path: a file of format (1) or (2).

    Returns:
      Arrays of the tensors' own types and shapes, that share no memory.

    Raises:
      TorchFileError: one line, if the file is damaged, is of neither format, or holds anything but tensors.
      OSError: if it cannot be opened.
    """
    expected = f"{path}: expected a PyTorch state dictionary"
    try:
        file = open_regular(path, most=_MOST_BYTES)
    except UnfitFileError as error:
        raise TorchFileError(f"{expected}, {error.strerror}") from None
    with file:
        try:
            is_zip = zipfile.is_zipfile(file)
            file.seek(0)
            return _read_zip(file) if is_zip else _read_legacy(file)
        except TorchFileError as error:
            raise TorchFileError(f"{expected}, {str(error)[:300]}") from None
        except _DAMAGE as error:
            raise TorchFileError(f"{expected}, the file is damaged or of another kind ({said(error)})") from None


def _read_zip(file: BufferedReader) -> dict[str, np.ndarray]:
    with open_zip(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        programs = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(programs) != 1:
            raise TorchFileError(f"got a zip file with {len(programs)} members */data.pkl; one was to be there")
        folder = programs[0].removesuffix("data.pkl")

        def read(name: str, size: int | None = None) -> bytes:
            info = members.get(folder + name)
            if info is None or info.compress_type != zipfile.ZIP_STORED or info.file_size > _bound(size):
                raise TorchFileError(f"got a zip file whose member {folder + name} is missing, compressed or too large")
            return archive.read(info)

        if folder + "byteorder" in members and read("byteorder") != b"little":
            raise TorchFileError("got numbers that are not little-endian; save it again on a usual machine")
        program = read("data.pkl")
        tensors = _tensors(run(program))
        sizes = {t.storage.key: _bytes(t.storage) for t in tensors.values()}
        if sum(members[name].file_size for key in sizes if (name := f"{folder}data/{key}") in members) > size_of(file):
            raise TorchFileError("got a zip file whose members overlap")
        storages = {key: read(f"data/{key}", size) for key, size in sizes.items()}
    return _arrays(tensors, storages, size_of(file))


def _bound(size: int | None) -> int:
    return _PROGRAM_BYTES if size is None else size


def _read_legacy(file: BufferedReader) -> dict[str, np.ndarray]:
    programs = io.BytesIO(file.read(_PROGRAM_BYTES))
    if run(programs) != _MAGIC:
        raise TorchFileError("got another pickle; save the state dictionary with torch.save")
    if run(programs) != _PROTOCOL:
        raise TorchFileError(f"got a protocol other than {_PROTOCOL}; save it again with a newer PyTorch")
    system = run(programs)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise TorchFileError("got numbers that are not little-endian; save it again on a usual machine")
    tensors = _tensors(run(programs))
    keys = run(programs)
    file.seek(programs.tell())
    known = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    storages = {}
    for key in keys:
        if not isinstance(key, str) or key not in known:
            raise TorchFileError(f"got a storage {key!r} that no tensor uses")
        (size,) = struct.unpack("<q", file.read(8))
        if size != known[key].size:
            raise TorchFileError(f"got {size} numbers in storage {key}, {known[key].size} were announced")
        if _bytes(known[key]) > size_of(file) - file.tell():
            raise TorchFileError(f"got a file that ends within storage {key}")
        storages[key] = file.read(_bytes(known[key]))
    return _arrays(tensors, storages, size_of(file))


def _bytes(storage: Storage) -> int:
    return storage.size * storage.dtype.itemsize


def _tensors(found: Any) -> dict[str, Tensor]:
    if not isinstance(found, dict):
        raise TorchFileError(f"got {kind_of(found)}; save model.state_dict() alone")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise TorchFileError(f"entry {name!r} is {kind_of(value)} and no tensor; save model.state_dict() alone")
    return found


def _arrays(tensors: dict[str, Tensor], storages: dict[str, bytes], held: int) -> dict[str, np.ndarray]:
    """The tensors of a file of ``held`` bytes."""
    for name, tensor in tensors.items():
        _check(name, tensor, len(storages.get(tensor.storage.key, b"")))
    asked = sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in tensors.values())
    if asked > max(_COPIES * held, _PROGRAM_BYTES):
        raise TorchFileError(f"got tensors of {asked:,} bytes in a file of {held:,}; save some that share no numbers")
    return {name: _array(tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _check(name: str, tensor: Tensor, found: int) -> None:
    """That a tensor lies within its storage, of which ``found`` bytes are there."""
    storage, count = tensor.storage, math.prod(tensor.shape)
    if found != _bytes(storage):
        raise TorchFileError(f"{name} has {found} bytes, {storage.size} numbers {storage.dtype} were announced")
    last = tensor.offset + sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides, strict=True))
    if (
        min(tensor.offset, *tensor.shape, *tensor.strides, 0) < 0
        or count > storage.size
        or last >= storage.size + (count == 0)
    ):
        raise TorchFileError(f"{name} reaches outside of its {storage.size} numbers")


def _array(tensor: Tensor, content: bytes) -> np.ndarray:
    dtype = tensor.storage.dtype
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, dtype)
    numbers = np.frombuffer(content, dtype)[tensor.offset :]
    strides = [stride * dtype.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers, tensor.shape, strides).copy()
