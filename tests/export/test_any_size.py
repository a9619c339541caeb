"""The ONNX file that takes images of any size gives what `predict` and OpenCV give."""

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from lively import pictures

import transfuse_keras as tk
from transfuse_keras.data.resize import resize_image
from transfuse_keras.errors import InputError
from transfuse_keras.export.onnx_files import export_onnx_any_size
from transfuse_keras.export.resizing import resize_maps, resize_pixels
from transfuse_keras.inference.masks import to_masks
from transfuse_keras.inference.predictor import as_predictor, load_predictor
from transfuse_keras.runs.embedded import read_embedded, write_embedded
from transfuse_keras.tasks import prostate

SIZE = (32, 48)
# larger, three times as large, halved, smaller, the same, larger on one side only
SIZES = [(75, 101), (96, 144), (64, 96), (20, 31), SIZE, (20, 101), (75, 31), (200, 50)]


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
def test_the_graph_resizes_as_opencv_does(size, channels):
    image = np.random.default_rng(0).integers(0, 256, (*size, channels), dtype="uint8")
    found = resize_pixels(tf.constant(image[None]), SIZE)
    np.testing.assert_array_equal(found[0], resize_image(image, SIZE))
    maps = np.random.default_rng(1).random((*SIZE, channels), "float32")
    found = resize_maps(tf.constant(maps[None]), SIZE, tf.constant(size))
    np.testing.assert_allclose(found[0], resize_image(maps, size), atol=1e-5)


@pytest.fixture(scope="module")
def file(lively_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model-any-size.onnx"
    export_onnx_any_size(lively_model, path)
    return path


def describe(file, thresholds, exclusive):
    about = {"thresholds": thresholds, "exclusive": exclusive}
    write_embedded(file, about | {"input": {"size": SIZE, "channels": 3}})


@pytest.mark.slow
@pytest.mark.parametrize("exclusive", [False, True])
def test_its_masks_are_those_of_predict(exclusive, file, lively_model):
    onnx.checker.check_model(onnx.load(file), full_check=True)
    thresholds = [0.3, 0.5, 0.7]
    describe(file, thresholds, exclusive)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [x.name for x in session.get_inputs()] == ["image"]
    assert [x.name for x in session.get_outputs()] == ["probabilities", "masks"]
    shown = 0
    for number, size in enumerate(SIZES):
        image = cv2.GaussianBlur(pictures(1, size, seed=number)[0].astype("uint8"), (5, 5), 0)
        maps, masks = session.run(None, {"image": image[None]})
        wanted = tk.predict(lively_model, image)
        np.testing.assert_allclose(maps[0], wanted, atol=1e-4)
        clear = np.abs(wanted - np.float32(thresholds)) > 1e-4  # else rounding decides
        if exclusive:
            clear &= np.diff(np.sort(wanted), axis=-1)[..., -1:] > 1e-4
        agree = masks[0] == to_masks(wanted, thresholds, exclusive)
        assert masks.dtype == "uint8" and clear.mean() > 0.99 and agree[clear.all(axis=-1)].all()
        shown += masks.sum()
    assert shown > 1000


@pytest.mark.slow
def test_it_is_predicted_with_like_any_other_file(file, lively_model):
    describe(file, [0.5] * 3, False)
    assert read_embedded(file)["input"]["size"] == [*SIZE]
    images = np.rint(pictures(2, SIZE))
    found = load_predictor(file).run(images)
    np.testing.assert_allclose(found, as_predictor(lively_model).run(images), atol=1e-4)


@pytest.mark.slow
def test_a_model_of_volumes_takes_no_images_of_any_size(smallest, tmp_path):
    z_scored = smallest((32, 32, 2), 2, normalization=prostate.normalization)
    with pytest.raises(InputError, match="volumes"):
        export_onnx_any_size(z_scored, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
