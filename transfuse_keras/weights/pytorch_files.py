"""PyTorch's files of tensors (`torch.save`), read without PyTorch.

Both forms: the zip archive of PyTorch 1.6 and later, and the stream of pickles before it. A pickle
may call what it names, so this one may name only what builds tensors; all else is refused.
"""

import pickle
import zipfile
from collections import OrderedDict
from functools import partial

import ml_dtypes  # noqa: F401 (NumPy knows bfloat16 by it)
import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C  # begins the older form
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


def read_torch(path):
    """What a file of `torch.save` holds, its tensors as NumPy arrays.

    Args:
        path: of the file, which exists.

    Returns: what was saved: as a rule a dict from tensor name to array.

    Raises: ValueError or pickle.UnpicklingError if it is damaged or names anything but tensors
    and plain containers.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return read_archive(archive)
    with path.open("rb") as file:
        return read_stream(file, path.stat().st_size)


def read_archive(archive):
    """The newer form: data.pkl beside one file for each storage."""
    inside = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(inside) != 1:
        raise ValueError("it is a zip archive without data.pkl")
    folder, storages = inside[0].removesuffix("data.pkl"), {}
    if f"{folder}byteorder" in archive.namelist():
        refuse_big_endian(archive.read(f"{folder}byteorder") == b"little")

    def find_storage(reference):
        _, dtype, key, _, _ = reference
        if key not in storages:
            storages[key] = np.frombuffer(archive.read(f"{folder}data/{key}"), dtype)
        return storages[key]

    with archive.open(inside[0]) as file:
        return TensorUnpickler(file, find_storage).load()


def read_stream(file, size):
    """The older form: five pickles, then the storages in the order that the last one lists."""
    load = partial(lambda find: TensorUnpickler(file, find).load(), refuse_storage)
    if load() != MAGIC:
        raise ValueError("it does not begin as PyTorch's files do")
    load()  # version of the form
    refuse_big_endian(load().get("little_endian", True))
    storages = {}

    def find_storage(reference):
        _, dtype, key, _, count, view = reference
        if view is not None:
            raise ValueError("it holds a view of a storage, as only PyTorch before 0.4 wrote")
        if count * np.dtype(dtype).itemsize > size:
            raise ValueError("it is cut off")
        if key not in storages:
            storages[key] = np.zeros(count, dtype)  # filled below; tensors are views of it
        return storages[key]

    content = TensorUnpickler(file, find_storage).load()
    for key in load():
        count = int.from_bytes(file.read(8), "little")
        if count != storages[key].size:
            raise ValueError("the length of a storage is not what its tensors say")
        storages[key][:] = np.frombuffer(file.read(storages[key].nbytes), storages[key].dtype)
    return content


def refuse_big_endian(little):
    if not little:
        raise ValueError("it was written on a big-endian machine")


def refuse_storage(reference):
    raise ValueError("a storage stands where none may be")


def build_tensor(storage, offset, size, stride, *_):
    """An array of shape `size` on a storage; offset and strides count elements, as in PyTorch."""
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 in size:
        return np.zeros(size, storage.dtype)
    if min((offset, *size, *stride)) < 0 or last >= storage.size:
        raise ValueError("a tensor goes past the end of its storage")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


class TensorUnpickler(pickle.Unpickler):
    """An unpickler that knows nothing but tensors and ordered dicts.

    Args:
        file: open for binary reading.
        find_storage: function of a reference (its kind, dtype, key, ...) to a 1-D array.
    """

    KNOWN = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch", "Size"): tuple,
        ("torch._utils", "_rebuild_tensor_v2"): build_tensor,
        ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        **{("torch", name): dtype for name, dtype in STORAGES.items()},
    }

    def __init__(self, file, find_storage):
        super().__init__(file)
        self.find_storage = find_storage

    def find_class(self, module, name):
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not read")
        return self.KNOWN[module, name]

    def persistent_load(self, reference):
        if reference[0] != "storage":
            raise pickle.UnpicklingError(f"it refers to a {reference[0]}")
        return self.find_storage(reference)
