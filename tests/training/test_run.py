"""A Run reads files, arrays and PIL images alike; what `tk.train` cannot do is refused."""

import numpy as np
import pytest
from data.files import save
from PIL import Image

import transfuse_keras as tk
from transfuse_keras.errors import InputError
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.tasks import Task
from transfuse_keras.training.run import Run


def make_run(**options):
    """A Run without a folder whose model gives brightness / 255."""
    run = object.__new__(Run)
    run.task, run.thresholds = Task("t", ("a",), channels=1, **options), (0.5,)
    run.predictor = Predictor((16, 16), 1, 1, lambda images: images[..., :1] / 255)
    return run


def test_a_deep_image_has_one_range_however_it_is_given(tmp_path):
    values = np.linspace(700, 1400, 256).reshape(16, 16).astype("uint16")
    save(tmp_path / "deep.png", values)
    run = make_run(value_range=(700, 1400))
    wanted = run.predict(tmp_path / "deep.png")
    assert 0.4 < wanted.mean() < 0.6  # by 16 bits all would be black
    for image in (values[..., None], Image.open(tmp_path / "deep.png")):
        np.testing.assert_array_equal(run.predict(image), wanted)


def test_a_run_on_volumes_takes_no_array():
    with pytest.raises(InputError, match="give the path of a volume"):
        make_run(field=(10.0, 10.0)).predict(np.zeros((4, 16, 16, 1)))


def test_folds_without_fold_are_refused():
    with pytest.raises(InputError, match="folds: give fold, too"):
        tk.train(task="hip", folds=5)
