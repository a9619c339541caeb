"""Shared by all tests: quiet TensorFlow, the smallest model that has every block.

Nothing here imports Keras before a test asks for it: tests of files and folders start at once.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("HF_ENDPOINT", "http://127.0.0.1:9")  # no test depends on what the hub has

import pytest

from transfuse_keras.cli import printing
from transfuse_keras.model.variants import Variant

CLIENTS = Path(__file__).parents[1] / ".venv" / "clients"  # an environment of `make test`
CLIENTS /= f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
FIXTURES = Path(__file__).parent / "fixtures"
SMALLEST = Variant("resnet18", "deit_tiny_patch16_224", 1, (16, 8, 8))
SMALLEST_UNET = Variant("resnet18", None, 0, (16, 8, 8), skips=True)  # a third of the time to trace


@pytest.fixture(autouse=True)
def seeded():
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def arrays(monkeypatch):
    """np.asarray takes PyTorch's tensors with a gradient, too, as it takes the other backends'."""
    if os.environ.get("KERAS_BACKEND") == "torch":
        import torch

        plain = torch.Tensor.__array__
        monkeypatch.setattr(
            torch.Tensor, "__array__", lambda x, dtype=None, copy=None: plain(x.detach(), dtype)
        )


@pytest.fixture(autouse=True)
def logging_as_on_the_command_line():
    """What the library logs is printed, so that `capsys` sees it."""
    with printing():
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, worker_id):
    """A function of a name and a function that fills a folder: the folder, filled once.

    The first of pytest's processes that asks for it does; tests only read it.
    """
    import fcntl  # Windows has none

    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent

    def make(name, fill):
        folder, done = base / name, base / f"{name}.done"
        with open(f"{folder}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def reference(made_once):
    """(folder, a complete run in it) of the small task of the trials of reliability."""

    def train(folder):
        from benchmarks.reliability import runs

        (folder / "savedmodels" / "hip").mkdir(parents=True)  # taken: the run becomes hip-2
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            given = runs.train_arguments(folder, None, ending=["--keep-checkpoints"])
            code, _, errors = runs.finish(*given[:-2])  # without --out
        assert code == 0, errors

    folder = made_once("reference", train)
    return folder, folder / "savedmodels" / "hip-2"


@pytest.fixture
def smallest():
    """A function that builds the smallest TransFuse; keyword arguments as in the class."""
    from transfuse_keras.model.transfuse import TransFuse

    def build(input_shape=(32, 48, 3), classes=1, **arguments):
        return TransFuse(SMALLEST, input_shape, classes, **arguments)

    return build


@pytest.fixture(scope="session")
def lively_model():
    """The smallest TransFuse for 32x48 and three classes that behaves like a trained one."""
    from lively import lively

    return lively(SMALLEST, (32, 48, 3), 3)


@pytest.fixture(scope="session")
def exported(lively_model, made_once):
    """A function of a format and a quantisation: its file, alone in a folder, made once."""
    from transfuse_keras.export import formats

    known = dict(formats.FORMATS)

    def export(name, quantize="none"):
        function, file, _ = known[name]
        given = {} if quantize == "none" else {"quantize": quantize}

        def write(folder):
            function(lively_model, folder / file, **given)

        return made_once(f"exported-{name}-{quantize}", write) / file

    return export


@pytest.fixture(scope="session")
def litert_file(exported):
    """Its float32 .tflite file."""
    return exported("litert")
