"""Files that PyTorch 2.13 wrote, read without it.

fixtures/torch_zip.pth and torch_stream.pth hold the same tensors in the newer and the older form.
"""

import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from conftest import FIXTURES

from transfuse_keras.weights.pytorch_files import read_torch
from transfuse_keras.weights.readers import read_tensors

FORMS = ["zip", "stream"]


@pytest.mark.parametrize("form", FORMS)
def test_every_kind_of_tensor_is_as_pytorch_wrote_it(form):
    tensors = read_tensors(FIXTURES / f"torch_{form}.pth")
    assert {name: (str(x.dtype), x.tolist()) for name, x in tensors.items()} == {
        "a": ("float32", np.arange(12).reshape(3, 4).tolist()),
        "transposed": ("float32", np.arange(12).reshape(3, 4).T.tolist()),  # of the same storage
        "row": ("int16", [2, 4, 6]),  # every second element from the third on
        "half": ("float16", [1.5, -2]),
        "brain": ("bfloat16", [0.5, 3]),
        "double": ("float64", 7.25),
        "count": ("int64", 5),
        "yes": ("bool", [True, False]),
        "parameter": ("float32", [[1, 2]]),
        "empty": ("float32", []),
    }
    assert tensors["empty"].shape == (0, 3)
    assert read_torch(FIXTURES / f"torch_{form}.pth")["epoch"] == 3


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_cut_off_anywhere_is_refused(form, tmp_path):
    whole, path = (FIXTURES / f"torch_{form}.pth").read_bytes(), tmp_path / "cut.pth"
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut.pth"):
            read_tensors(path)


class Calls:
    """What unpickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Saved(pickle.Pickler):
    """A pickler of {name: ("storage", ...)} whose tuples are references, as PyTorch's are."""

    def persistent_id(self, value):
        return value if isinstance(value, tuple) and value[:1] == ("storage",) else None


def archive(path, content, data=bytes(16)):
    pickled = io.BytesIO()
    Saved(pickled, 2).dump(content)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", pickled.getvalue())
        file.writestr("x/data/0", data)
    return path


@pytest.mark.parametrize("function", [print, eval, __import__, getattr])
def test_a_pickle_that_names_anything_but_tensors_is_refused(function, tmp_path, capsys):
    path = archive(tmp_path / "evil.pth", {"conv1.weight": Calls(function, "code ran")})
    with pytest.raises(ValueError, match=r"evil.pth: .*names"):
        read_tensors(path)
    (tmp_path / "older.pth").write_bytes(pickle.dumps(Calls(function, "code ran")))
    with pytest.raises(ValueError, match=r"older.pth: .*names"):
        read_tensors(tmp_path / "older.pth")
    assert "code ran" not in capsys.readouterr().out


def rebuilt(offset, size, stride, monkeypatch):
    """What PyTorch pickles for a float32 tensor on storage 0 of four elements."""
    import sys
    import types

    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    storage = type("FloatStorage", (), {"__module__": "torch"})

    def _rebuild_tensor_v2():
        pass

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    torch.FloatStorage, utils._rebuild_tensor_v2 = storage, _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    reference = ("storage", storage, "0", "cpu", 4)
    return Calls(_rebuild_tensor_v2, reference, offset, size, stride, False, OrderedDict())


def test_a_tensor_stays_inside_its_storage(tmp_path, monkeypatch):
    data = np.arange(4, dtype="<f4").tobytes()
    for offset, size, stride, right in [
        (0, (2, 2), (2, 1), True),
        (2, (2,), (1,), True),
        (3, (2,), (1,), False),
        (0, (2, 2), (3, 1), False),
        (-1, (2,), (1,), False),
        (3, (2,), (-1,), False),
        (0, (10**9,), (1,), False),
    ]:
        content = {"x": rebuilt(offset, size, stride, monkeypatch)}
        path = archive(tmp_path / "tensor.pth", content, data)
        if right:
            wanted = np.arange(4.0)[offset:].reshape(size)
            np.testing.assert_array_equal(read_tensors(path)["x"], wanted)
        else:
            with pytest.raises(ValueError, match=r"tensor.pth: .*past the end"):
                read_tensors(path)
