"""A training whose model sees neighbouring slices (2.5D), from the option to the exported file."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
from data.files import decathlon_folder

from transfuse_keras.data.layouts import find_samples
from transfuse_keras.errors import InputError
from transfuse_keras.export.export_model import export_model
from transfuse_keras.inference.describe import describe_file
from transfuse_keras.inference.masks import to_masks
from transfuse_keras.inference.predict import predict_volume
from transfuse_keras.inference.predict_files import predict_files
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.model.flops import count_flops
from transfuse_keras.model.load import load_model
from transfuse_keras.model.transfuse import TransFuse
from transfuse_keras.runs.folder import run_task
from transfuse_keras.runs.metadata import read_metadata
from transfuse_keras.runs.options import parse_settings
from transfuse_keras.runs.other_settings import refuse_other_settings
from transfuse_keras.tasks import prostate
from transfuse_keras.training.live import read_slice
from transfuse_keras.training.train import train_task

NEIGHBOURS = ((0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 4))  # of five slices
SMALL = replace(prostate, field=(32.0, 32.0))


def test_the_option_is_refused_for_images_and_kept_with_the_run(tmp_path):
    with pytest.raises(InputError, match="--context 1.*volumes"):
        parse_settings({"task": "hip", "context": 1})
    with pytest.raises(InputError, match="--context -1"):
        parse_settings({"task": "prostate", "context": -1})
    begun = parse_settings({"task": "prostate", "context": 1})
    assert begun.task.context == 1
    for given in ({}, {"context": 1}, {"task": "prostate"}, {"task": "prostate", "context": 1}):
        refuse_other_settings(tmp_path, begun, given)
    for given in ({"context": 0}, {"context": 2}, {"task": "prostate", "context": 2}):
        with pytest.raises(InputError, match="--context"):
            refuse_other_settings(tmp_path, begun, given)


def test_a_volume_is_predicted_as_its_slices_are_stacked_by_hand():
    weights = np.array([[1, 2, 4, 8, 16, 32]]).T / 63

    def run(images):
        return images @ weights

    volume = np.random.default_rng(0).standard_normal((11, 32, 32, 2)).astype("float32")
    model = Predictor((32, 32), 6, 1, run, z_scored=True)
    maps = predict_volume(model, volume, (3.0, 0.5, 0.5), (16.0, 16.0), context=1)
    for i, others in {0: (0, 0, 1), 7: (6, 7, 8), 8: (7, 8, 9), 10: (9, 10, 10)}.items():
        seen = np.concatenate([volume[j] for j in others], axis=-1)
        np.testing.assert_allclose(maps[i], run(seen), atol=1e-5)


def test_the_picture_of_a_case_is_of_the_slice_and_its_neighbours(tmp_path):
    (sample, *_) = find_samples(SMALL, decathlon_folder(tmp_path)).samples
    image, truth = sample.read()
    seen, shown = read_slice(sample, context=1)
    fullest = int((truth == 1).sum(axis=(1, 2, 3)).argmax())
    np.testing.assert_array_equal(seen, image[fullest - 1 : fullest + 2])
    np.testing.assert_array_equal(shown, truth[fullest : fullest + 1])


@pytest.mark.slow
def test_three_slices_cost_a_twentyfifth_more():
    one, three = (count_flops(TransFuse("Ti", (128, 96, channels), 2)) for channels in (1, 3))
    assert three / one == pytest.approx(1.04, abs=0.005)


@pytest.mark.slow
def test_a_run_and_its_exported_file_see_the_neighbours(tmp_path):
    data = decathlon_folder(tmp_path / "data", count=6)
    small = {"variant": "U-Ti", "image_size": (32, 32), "epochs": 1, "batch_size": 4}
    settings = parse_settings({"data": str(data), "context": 1, **small}, SMALL)
    run = train_task(settings, tmp_path / "run", export=False, report=False)
    assert run_task(run).context == 1
    image = data / "imagesTr" / "case_00.nii.gz"
    (sample,) = [x for x in find_samples(SMALL, data).samples if image in x.files]
    slices, _ = sample.read()  # (5, 20, 24, 2) of 0.8 mm x 1 mm
    model = load_model(run / "model.keras")
    assert model.input_shape == (None, 32, 32, 6)
    stacked = np.stack([np.concatenate(slices[list(x)], axis=-1) for x in NEIGHBOURS])
    alone = predict_volume(
        model, stacked, sample.spacing, SMALL.field
    )  # each a slice of 6 channels
    together = predict_volume(model, slices, sample.spacing, SMALL.field, context=1)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    wanted = to_masks(alone, 0.5, exclusive=True)

    export_model(run, ["onnx"])
    exported = run / "model.onnx"
    task, _ = read_metadata(exported)
    assert (task.channels, task.context, task.inputs) == (2, 1, 6)
    assert "1 on either side" in describe_file(exported)["input"]
    for file in (run, exported):
        predict_files(file, [image], tmp_path / file.name, flips="", overlays=False)
        (written,) = (tmp_path / file.name).glob("*.nii.gz")
        labels = np.asarray(nibabel.load(written).dataobj).transpose(2, 1, 0)
        found = np.stack([labels == 1, labels == 2], axis=-1)
        assert (found != wanted.astype(bool)).mean() < 1e-3
