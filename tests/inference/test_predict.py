from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from transfuse_keras.data.pictures import outline, overlay
from transfuse_keras.data.resize import crop_field, uncrop_field
from transfuse_keras.data.samples import Sample
from transfuse_keras.errors import InputError
from transfuse_keras.inference.masks import clean_up, largest_component, to_masks
from transfuse_keras.inference.predict import (
    predict,
    predict_images,
    predict_sample,
    predict_samples,
    predict_volume,
)
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.tasks import Task, hip, polyp, prostate

SIZE = (32, 48)
RAMP = np.linspace(0, 1, SIZE[1], dtype="float32")


def stub(function, classes=1, channels=3):
    """A Predictor for SIZE that counts its passes in `passes`."""
    passes = []

    def run(images):
        assert images.shape[1:] == (*SIZE, channels)
        passes.append(len(images))
        return function(images.astype("float32"))

    return Predictor(SIZE, channels, classes, run), passes


def brightness(images):
    return images[..., :1] / 255


def left_and_right(images):
    """Three maps of brightness: as it is, more to the right, and more to the left."""
    sides = np.stack([np.ones_like(RAMP), RAMP, RAMP[::-1]], axis=-1)
    return brightness(images) * sides


def random_image(*size):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype="uint8")


def test_predict_gives_probabilities_at_the_images_size(smallest):
    model = smallest(classes=2)
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype="uint8")
    mean, std = (np.array(values) for values in model.normalization)
    logits = model(((image / 255 - mean) / std)[None].astype("float32"))["mask"]
    wanted = np.asarray(keras.ops.sigmoid(logits))[0]
    np.testing.assert_allclose(predict(model, image), wanted, atol=1e-5)
    large = np.repeat(np.repeat(image, 3, axis=0), 3, axis=1)
    probabilities = predict(model, large)
    assert probabilities.shape == (96, 144, 2) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities[1::3, 1::3], wanted, atol=1e-4)
    with pytest.raises(ValueError, match=r"takes \(H, W, 3\) images"):
        predict(model, image[..., :2])


def test_a_volume_is_predicted_slice_by_slice_on_its_own_grid(smallest):
    model = smallest((32, 48, 2), classes=2, normalization=prostate.normalization)
    volume = np.random.default_rng(0).standard_normal((11, 50, 41, 2)).astype("float32")
    spacing, field = (3.0, 0.5, 0.7), (16.0, 24.0)
    maps = predict_volume(model, volume, spacing, field)
    assert maps.shape == (11, 50, 41, 2) and maps.dtype == np.float32
    for i in (0, 7, 8, 10):  # the model sees z-scored values as they are
        fitted = crop_field(volume[i], spacing[1:], field, (32, 48))
        found = np.asarray(keras.ops.sigmoid(model(fitted[None])["mask"]))[0]
        wanted = uncrop_field(found, (50, 41), spacing[1:], field)
        np.testing.assert_allclose(maps[i], wanted, atol=1e-5)
    assert not maps[:, 0].any()  # 25 mm of rows, of which the field shows 16


def test_images_of_several_sizes_go_through_the_model_together():
    model, passes = stub(brightness)
    images = [random_image(*size) for size in ((32, 48), (64, 96), (10, 20))]
    maps = list(predict_images(model, images))
    assert passes == [3] and not list(predict_images(model, []))
    assert [found.shape for found in maps] == [(32, 48, 1), (64, 96, 1), (10, 20, 1)]
    for image, found in zip(images, maps, strict=True):
        np.testing.assert_array_equal(found, predict(model, image))


@pytest.mark.parametrize(("count", "wanted", "held"), [(11, [8, 8], 8), (3, [1, 1, 1], 1)])
def test_samples_go_through_the_model_together_and_few_of_them_are_held(count, wanted, held):
    model, passes = stub(brightness)
    images = [np.full((20 + i, 30, 3), 20 * i, "uint8") for i in range(count)]
    read = []

    def sample(i):
        return Sample(str(i), "", None, lambda: read.append(i) or (images[i], f"truth {i}"))

    found = predict_samples(model, [sample(i) for i in range(count)], polyp)
    for i, (of, image, truth, maps, seconds) in enumerate(found):
        assert i < len(read) <= i // held * held + held  # read in batches, none ahead
        assert (of.name, truth) == (str(i), f"truth {i}") and image is images[i] and seconds > 0
        np.testing.assert_array_equal(maps, predict(stub(brightness)[0], image))
    assert passes == wanted and read == list(range(count))


@pytest.mark.parametrize(("flips", "count"), [("", 1), ("h", 2), ("v", 2), ("hv", 4)])
def test_flips_change_nothing_where_the_model_is_symmetric(flips, count):
    model, passes = stub(left_and_right, classes=3)
    image = random_image(*SIZE)
    found = predict(model, image, flips, mirrored_classes=hip.mirrored_classes)
    assert len(passes) == count
    np.testing.assert_array_equal(found, predict(model, image))
    sample = type("Sample", (), {"spacing": (3.0, 0.5, 0.5)})
    np.testing.assert_array_equal(predict_sample(model, sample, image, hip, flips), found)
    volume = image[None].astype("float32").repeat(2, axis=0)
    task = Task("legs", hip.classes, mirror_pairs=hip.mirror_pairs, field=(16.0, 24.0))
    maps = predict_sample(model, sample, volume, task, flips)
    np.testing.assert_array_equal(maps, [found, found])


def test_flips_average_what_is_not_symmetric():
    def slanted(images):
        down = np.linspace(0, 1, SIZE[0], dtype="float32")[:, None, None]
        return brightness(images) * RAMP[:, None] * down

    model, _ = stub(slanted)
    image = random_image(*SIZE)
    own = image[..., :1] / 255
    down = np.linspace(0, 1, SIZE[0])[:, None, None]
    ramp = RAMP[:, None]
    for flips, wanted in {"h": own * down / 2, "v": own * ramp / 2, "hv": own / 4}.items():
        np.testing.assert_allclose(predict(model, image, flips), wanted, atol=1e-6)
    mixed, _ = stub(left_and_right, classes=3)
    sides = predict(mixed, image, "h")[..., 1:]  # without exchanging left and right
    np.testing.assert_allclose(sides, np.repeat(own / 2, 2, axis=-1), atol=1e-6)
    with pytest.raises(ValueError, match="h, v or hv, not 'x'"):
        predict(model, image, "x")


@pytest.mark.parametrize(
    "size", [(32, 48), (100, 150), (33, 49), (32, 200), (20, 100), (15, 7), (1, 130)]
)
def test_tiles_show_the_image_at_its_own_scale(size):
    image = random_image(*size)
    model, passes = stub(brightness)
    for flips in ("", "h"):
        found = predict(model, image, flips, tile=True)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, image[..., :1] / 255, atol=1e-5)
    assert max(passes) <= 8


def test_tiles_leave_no_seams():
    image = random_image(100, 150)
    constant, _ = stub(lambda images: np.full((len(images), *SIZE, 2), 0.3, "float32"), classes=2)
    maps = predict(constant, image, tile=True)
    np.testing.assert_allclose(maps, np.full((100, 150, 2), 0.3), atol=1e-6)
    certain, _ = stub(lambda images: np.ones((len(images), *SIZE, 1), "float32"))
    assert predict(certain, image, tile=True).max() <= 1
    # tiles that disagree by 1 where one ends and the next begins
    ramps, _ = stub(lambda images: np.zeros((len(images), *SIZE, 1), "float32") + RAMP[:, None])
    maps = predict(ramps, image, tile=True)
    assert np.abs(np.diff(maps, axis=0)).max() < 1e-6
    assert np.abs(np.diff(maps, axis=1)).max() < 0.05


def test_volumes_are_not_cut_into_tiles():
    model, _ = stub(brightness, channels=2)
    volume = np.zeros((2, 40, 40, 2), "float32")
    with pytest.raises(ValueError, match="tiles"):
        predict_sample(model, None, volume, prostate, tile=True)


def test_threshold_and_exclusive_classes():
    probabilities = np.array([[0.6, 0.7, 0.1], [0.5, 0.4, 0.3], [0.2, 0.4, 0.1]], "float32")
    np.testing.assert_array_equal(to_masks(probabilities), [[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    exclusive = to_masks(probabilities, exclusive=True)
    np.testing.assert_array_equal(exclusive, [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert to_masks(probabilities, threshold=0.65).sum() == 1
    by_class = (0.3, 0.7, 0.1)
    masks = to_masks(probabilities, by_class)
    np.testing.assert_array_equal(masks, [[1, 1, 1], [1, 0, 1], [0, 0, 1]])
    # the most probable class decides, even where only another one reaches its threshold
    masks = to_masks(probabilities, by_class, exclusive=True)
    np.testing.assert_array_equal(masks, [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert masks.dtype == np.uint8


def drawn(picture):
    """A 0/1 mask from lines of dots and hashes."""
    return np.array([[pixel == "#" for pixel in line] for line in picture.split()], "uint8")


def test_the_largest_component_stays():
    mask = drawn("##...# ##..#. ...... .#.### ...###")
    wanted = drawn("...... ...... ...... ...### ...###")
    tie = drawn(
        "....## ..#... ..#... ....#. .....#"
    )  # corners do not connect; the upper one is first
    upper = drawn("....## ...... ...... ...... ......")
    empty = np.zeros_like(mask)
    kept = largest_component(np.stack([mask, tie, empty], axis=-1))
    np.testing.assert_array_equal(kept, np.stack([wanted, upper, empty], axis=-1))
    assert kept.dtype == np.uint8


def test_of_a_sure_class_the_surest_component_stays_and_those_nearly_as_sure():
    """Components by SciPy: a large one, one that touches it at a corner and is surest by its mean,
    not by its maximum, and one that is 0.04 less sure."""
    rng = np.random.default_rng(0)
    mask = drawn("###... ###... ...##. #.....")
    probabilities = np.where(mask, rng.uniform(0.5, 0.75, mask.shape), 0.1).astype("float32")
    probabilities[2, 3:5], probabilities[3, 0] = (0.75, 0.95), 0.81
    probabilities[0, 0] = 0.99
    labels, count = ndimage.label(mask)
    means = ndimage.mean(probabilities, labels, range(1, count + 1))
    wanted = np.isin(labels, 1 + np.flatnonzero(means >= means.max() - 0.05))
    np.testing.assert_array_equal(wanted, drawn("...... ...... ...##. #....."))
    maps = np.stack([probabilities, probabilities], axis=-1)
    masks = to_masks(maps, 0.5, sure=[0])  # the other class keeps all
    np.testing.assert_array_equal(masks, np.stack([wanted, mask], axis=-1))
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(to_masks(maps, 0.98, sure=[0, 1]), maps > 0.98)  # only one
    assert not to_masks(maps, 1.0, sure=[0, 1]).any()


def test_the_largest_component_of_a_volume_spans_slices():
    """Three voxels face to face across slices, against four that touch at corners and edges."""
    volume = np.zeros((4, 4, 5, 1), "uint8")
    volume[0:3, 1, 1] = 1
    for k in range(4):
        volume[k, 3, 1 + k] = 1
    kept = largest_component(volume)
    assert kept.sum() == 3 and kept[0:3, 1, 1].all()


def test_masks_are_cleaned_up_class_by_class_and_all_together():
    """Two regions: one of both classes in three parts, and the largest part of b."""
    picture = np.array([list(line) for line in ("aaba..b", "aab...b", "......b", "a......")])
    masks = np.stack([picture == "a", picture == "b"], axis=-1).astype("uint8")
    found = {name: tuple(kept.sum(axis=(0, 1))) for name, kept in clean_up(masks).items()}
    assert found == {"cleaned": (4, 3), "region": (5, 2), "region-cleaned": (4, 2)}
    assert all(kept.dtype == np.uint8 for kept in clean_up(masks).values())
    assert list(clean_up(masks[..., :1])) == ["cleaned"]  # the others are the same


def test_overlay_colours():
    image = np.full((20, 20, 1), 100, "uint8")
    truth, mask = np.zeros((20, 20, 1), "uint8"), np.zeros((20, 20, 1), "uint8")
    truth[2:12, 2:12], mask[2:12, 2:16] = 1, 1
    picture = overlay(image, mask, truth)
    assert tuple(picture[5, 2]) == (255, 255, 255)  # the left borders coincide
    assert tuple(picture[5, 11]) == (0, 255, 0)  # the truth ends here
    assert tuple(picture[5, 15]) == (255, 0, 255)  # the prediction here
    assert tuple(picture[6, 6]) == tuple(picture[18, 18]) == (100, 100, 100)
    assert (image == 100).all()
    assert not (overlay(image, mask) == (0, 255, 0)).all(axis=-1).any()
    both = overlay(image, np.concatenate([truth, mask], axis=-1))
    assert tuple(both[5, 11]) == (0xE6, 0x9F, 0x00)  # the first class ends here, in orange
    assert tuple(both[5, 2]) == tuple(both[5, 15]) == (0x56, 0xB4, 0xE9)  # the second is on top


def test_overlay_refuses_what_it_would_draw_wrongly():
    image, mask = np.full((20, 30), 100, "uint8"), np.zeros((20, 30), "float32")
    mask[5:9, 5:9] = 1
    drawn = overlay(image[..., None], mask[..., None].astype("uint8"))
    assert drawn.shape == (20, 30, 3) and (overlay(image, mask) == drawn).all()
    for other, error in [
        (0.7 * mask, "probabilities"),
        (2 * mask, "label map"),
        (mask.T, "do not fit"),
        (mask[0], "fit"),
    ]:
        for given in [(image, other), (image, mask, other), (image, np.stack([other] * 2, -1))]:
            with pytest.raises(ValueError, match=error):
                overlay(*given)
    for other in (image / 255, image[0], np.stack([image] * 4, -1)):
        with pytest.raises(ValueError, match="Give an image uint8"):
            overlay(other, mask)


def test_outline_of_a_square_is_its_frame():
    mask = np.zeros((9, 9), "uint8")
    mask[2:7, 2:7] = 1
    assert outline(mask).sum() == 16


def test_the_type_of_an_image_tells_its_range_or_it_is_refused():
    predictor, _ = stub(brightness)
    image = random_image(*SIZE)
    wanted = predict(predictor, image)
    palette = Image.fromarray(image // 64 * 64).quantize(64)
    for same in (Image.fromarray(image), image.astype("int64"), image.astype("float64")):
        np.testing.assert_allclose(predict(predictor, same), wanted, atol=1e-6)
    np.testing.assert_array_equal(
        predict(predictor, palette), predict(predictor, np.asarray(palette.convert("RGB")))
    )
    np.testing.assert_allclose(predict(predictor, image * np.uint16(257)), wanted, atol=1e-6)
    black_and_white = predict(predictor, image > 100)
    np.testing.assert_array_equal(black_and_white, predict(predictor, 255 * (image > 100)))
    for unclear, said in ((image / 255, "multiply it by 255"), (image - 300.0, "-300"[:2])):
        with pytest.raises(InputError, match=said):
            predict(replace(predictor, z_scored=False), unclear)
    np.testing.assert_array_equal(  # of a model on volumes as they are
        predict(replace(predictor, z_scored=True), (image / 255).astype("float32")),
        brightness((image / 255).astype("float32")),
    )


def test_the_name_of_a_file_is_no_image():
    with pytest.raises(InputError, match="x.png: give the pixels"):
        predict(Predictor((32, 32), 3, 1, lambda images: images[..., :1]), "x.png")


def test_what_is_no_image_or_no_model_is_named():
    predictor, _ = stub(brightness)
    image = random_image(*SIZE)
    unknown = np.where(np.arange(SIZE[1])[:, None] == 3, np.nan, image)
    for other, said in [
        *((None, "not NoneType"), ("abc", "abc: give the pixels"), ([["a"]], "not list")),
        *((image[:0], r"not \(0, "), (unknown, "not finite"), (image[0], "The model takes")),
    ]:
        with pytest.raises(ValueError, match=said):
            predict(predictor, other)
    with pytest.raises(InputError, match="not finite"):  # slices that are z-scored, too
        predict(replace(predictor, z_scored=True), unknown)
    for other in ("run", None, keras.Sequential()):
        with pytest.raises(InputError, match=f"{type(other).__name__}, not a TransFuse"):
            predict(other, image)
