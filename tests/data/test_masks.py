"""Masks as people have them: read as their standard says, or refused; never silently wrong."""

import struct
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
from data.files import binary_folder, disc, picture, rows_of_labels, save
from PIL import Image

from transfuse_keras.data.check import check
from transfuse_keras.data.classes import count_labels
from transfuse_keras.data.masks import IGNORED, describe_masks, read_masks
from transfuse_keras.data.palettes import KNOWN
from transfuse_keras.data.resize import resize_image, resize_masks
from transfuse_keras.data.symmetry import shrink
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task

ONE, THREE = ("lesion",), ("a", "b", "c")
SHAPE = disc(1)
TASK = Task("t", ONE)


def read_one(path, ignore=None):
    return read_masks((path,), ONE, ignore)[..., 0]


def with_border():
    """0, 1 and a border of 255, and the border."""
    border = cv2.dilate(SHAPE, np.ones((3, 3), "uint8")) - SHAPE
    return SHAPE + 255 * border, border


# palettes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 0, 255), (255, 255, 255), (1, 200, 30)])
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_black_is_the_background_of_a_palette_whatever_its_index(tmp_path, colour, order):
    indices = Image.fromarray(np.array(order, "uint8")[SHAPE])
    colours = [(0, 0, 0), colour]
    indices.putpalette([x for i in np.argsort(order) for x in colours[i]])
    indices.save(tmp_path / "a.png")
    shown = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).any(axis=-1)
    np.testing.assert_array_equal(read_one(tmp_path / "a.png"), shown)
    Image.fromarray(SHAPE[..., None] * np.uint8(colour)).quantize(2).save(tmp_path / "q.png")
    np.testing.assert_array_equal(read_one(tmp_path / "q.png"), SHAPE)


def test_a_palette_without_black_is_refused(tmp_path):
    indices = Image.fromarray(SHAPE)
    indices.putpalette([255, 255, 255, 255, 0, 0])
    indices.save(tmp_path / "a.png")
    with pytest.raises(InputError, match="a.png.*black"):
        read_one(tmp_path / "a.png")


@pytest.mark.parametrize("name", KNOWN)
def test_palettes_whose_index_is_the_label_keep_it(tmp_path, name):
    labels = Image.fromarray(rows_of_labels())
    labels.putpalette(KNOWN[name][:20].ravel().tolist())
    labels.save(tmp_path / "a.png")
    wanted = rows_of_labels()[..., None] == [1, 2, 3]
    np.testing.assert_array_equal(read_masks((tmp_path / "a.png",), THREE), wanted)


def test_the_colours_of_voc():
    """As in the development kit: https://host.robots.ox.ac.uk/pascal/VOC/voc2012."""
    wanted = {1: (128, 0, 0), 5: (128, 0, 128), 15: (192, 128, 128), 255: (224, 224, 192)}
    assert {label: tuple(KNOWN["VOC"][label]) for label in wanted} == wanted


def test_a_quantised_label_map_is_read_right_or_refused(tmp_path):
    path, wanted = tmp_path / "a.png", rows_of_labels()[..., None] == [1, 2, 3]
    Image.fromarray(np.repeat(rows_of_labels()[..., None], 3, axis=2)).quantize(4).save(path)
    np.testing.assert_array_equal(read_masks((path,), THREE), wanted)
    colours = np.array([[0, 0, 0], [250, 0, 0], [0, 250, 0], [0, 0, 250]], "uint8")
    Image.fromarray(colours[rows_of_labels()]).quantize(4).save(path)
    assert (np.asarray(Image.open(path)) != rows_of_labels()).any()
    with pytest.raises(InputError, match="a.png.*palette"):
        read_masks((path,), THREE)


# values -----------------------------------------------------------------------------------------


def test_a_third_value_is_refused_or_ignored(tmp_path):
    values, border = with_border()
    save(tmp_path / "a.png", values)
    with pytest.raises(InputError, match=r"a.png: holds 0, 1 and 255.*ignore=255"):
        read_one(tmp_path / "a.png")
    wanted = np.where(border, IGNORED, SHAPE)
    np.testing.assert_array_equal(read_one(tmp_path / "a.png", 255), wanted)
    save(tmp_path / "b.png", np.where(border, 100, 255 * SHAPE))
    np.testing.assert_array_equal(read_one(tmp_path / "b.png", 100), wanted)
    labels = np.where(rows_of_labels() == 3, 255, rows_of_labels())
    save(tmp_path / "c.png", labels.astype("uint8"))
    masks = read_masks((tmp_path / "c.png",), ("a", "b"), 255)
    np.testing.assert_array_equal(
        masks, np.where(labels[..., None] == 255, 255, labels[..., None] == [1, 2])
    )


def test_resizing_keeps_ignored_pixels_out_of_the_rest():
    masks = np.zeros((4, 4, 1), "uint8")
    masks[:2, :2] = [[[1], [IGNORED]], [[0], [1]]]  # two of three counted pixels
    masks[:2, 2:] = [[[IGNORED], [IGNORED]], [[1], [1]]]  # half ignored
    masks[2:, :2, 0] = [[1, 0], [0, IGNORED]]  # one of three
    np.testing.assert_array_equal(resize_masks(masks, (2, 2))[..., 0], [[1, IGNORED], [0, 0]])


@pytest.mark.parametrize("count", [4, 5, 9])
def test_maps_of_many_classes_are_resized_each_as_it_would_be_alone(count):
    maps = np.random.default_rng(0).random((50, 61, count), "float32")
    for size in ((20, 30), (70, 90), (60, 40)):
        alone = [resize_image(maps[..., i : i + 1], size)[..., 0] for i in range(count)]
        np.testing.assert_allclose(resize_image(maps, size), np.stack(alone, -1), atol=1e-6)
    sides = np.zeros((40, 64, count), "uint8")
    sides[:, :32, -1] = 1
    assert shrink(sides).shape == (32, 32, count) and shrink(sides)[:, :, -1].mean() == 0.5


def test_the_shape_in_the_alpha_channel(tmp_path):
    path, full = tmp_path / "a.png", np.full_like(SHAPE, 255)
    for colour in (255 - 0 * SHAPE, 0 * SHAPE):
        Image.fromarray(np.dstack([colour] * 3 + [255 * SHAPE])).save(path)
        np.testing.assert_array_equal(read_one(path), SHAPE)
        Image.fromarray(np.dstack([colour, 255 * SHAPE])).save(path)
        np.testing.assert_array_equal(read_one(path), SHAPE)
    red = np.dstack([255 * SHAPE, 0 * SHAPE, 0 * SHAPE, 255 * SHAPE])
    Image.fromarray(red).save(path)
    np.testing.assert_array_equal(read_one(path), SHAPE)
    Image.fromarray(np.dstack([255 * SHAPE] * 3 + [full])).save(path)
    np.testing.assert_array_equal(read_one(path), SHAPE)
    Image.fromarray(np.dstack([255 * SHAPE] * 3 + [255 - 255 * SHAPE])).save(path)
    with pytest.raises(InputError, match="a.png.*transparency"):
        read_one(path)


@pytest.mark.parametrize("quality", [100, 75])
def test_0_and_1_as_jpeg_are_never_an_empty_mask(tmp_path, quality):
    path = tmp_path / "a.png"  # whatever it is called
    Image.fromarray(SHAPE).save(path, "JPEG", quality=quality)
    if np.asarray(Image.open(path)).any():
        with pytest.raises(InputError, match="a.png.*JPEG"):
            read_one(path)
    Image.fromarray(rows_of_labels()).save(path, "JPEG", quality=quality)
    with pytest.raises(InputError, match="a.png: JPEG"):
        read_masks((path,), THREE)


@pytest.mark.parametrize("quality", [100, 50])
def test_jpeg_inside_a_tiff_is_jpeg(tmp_path, quality):
    for name, values in (("a.tif", SHAPE), ("b.tif", rows_of_labels()), ("c.tif", 255 * SHAPE)):
        options = {"compression": "jpeg", "compressionargs": {"level": quality}}
        tifffile.imwrite(tmp_path / name, values, photometric="minisblack", **options)
    if tifffile.imread(tmp_path / "a.tif").any():
        with pytest.raises(InputError, match="a.tif: .*JPEG"):
            read_one(tmp_path / "a.tif")
    with pytest.raises(InputError, match="b.tif: JPEG"):
        read_masks((tmp_path / "b.tif",), THREE)
    wanted = tifffile.imread(tmp_path / "c.tif") > 127
    np.testing.assert_array_equal(read_one(tmp_path / "c.tif"), wanted)


def test_grey_areas_in_a_jpeg_are_no_mask_of_two_values(tmp_path):
    around = cv2.dilate(SHAPE, np.ones((13, 13))) - SHAPE
    save(tmp_path / "a.jpg", (255 * SHAPE + 128 * around).astype("uint8"))
    with pytest.raises(InputError, match="a.jpg: .*about 12"):
        read_one(tmp_path / "a.jpg")
    save(tmp_path / "b.jpg", 140 * SHAPE)  # white as grey as this is cut at half of itself
    assert (read_one(tmp_path / "b.jpg") != SHAPE).mean() < 0.01
    soft = cv2.GaussianBlur(255 * cv2.resize(SHAPE, None, fx=8, fy=8), (0, 0), 9)
    save(tmp_path / "c.jpg", soft)
    assert (read_one(tmp_path / "c.jpg") != (soft > 127)).mean() < 0.01


def write_small(path, values, bits):
    """A grey PNG of fewer than 8 bits (https://www.w3.org/TR/png-3); no library here writes it."""
    rows = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :].reshape(len(values), -1)
    rows = np.pad(np.packbits(rows, axis=1), ((0, 0), (1, 0)))  # each begins with its filter
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", *values.shape[::-1], bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes())),
        (b"IEND", b""),
    )
    chunks = [
        struct.pack(">I", len(x)) + k + x + struct.pack(">I", zlib.crc32(k + x)) for k, x in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@pytest.mark.parametrize("bits", [2, 4])
def test_labels_of_few_bits_are_what_is_stored(tmp_path, bits):
    path, top = tmp_path / "a.png", 2**bits - 1
    write_small(path, rows_of_labels(), bits)
    shown = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(shown, rows_of_labels() * (255 // top))
    masks = read_masks((path,), THREE)
    np.testing.assert_array_equal(masks, rows_of_labels()[..., None] == [1, 2, 3])
    assert "stored" in describe_masks((path,), THREE)[0]
    with pytest.raises(InputError, match="a.png: .*label map"):
        read_one(path)
    assert count_labels([path])[0] == 3
    many = tuple(f"c{i}" for i in range(17))  # of which one may be meant
    with pytest.raises(InputError, match="a.png: .*8 bits"):
        read_masks((path,), many)
    for value in (1, top):
        write_small(path, value * SHAPE, bits)
        np.testing.assert_array_equal(read_one(path), SHAPE)


def test_labels_that_are_whole_but_for_rounding(tmp_path):
    labels = rows_of_labels() * np.float32(1.0000001)
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="minisblack")
    masks = read_masks((tmp_path / "a.tif",), THREE)
    np.testing.assert_array_equal(masks, rows_of_labels()[..., None] == [1, 2, 3])
    tifffile.imwrite(tmp_path / "b.tif", SHAPE * np.float32(1.0000001), photometric="minisblack")
    np.testing.assert_array_equal(read_one(tmp_path / "b.tif"), SHAPE)
    tifffile.imwrite(tmp_path / "c.tif", labels * np.float32(1.0625), photometric="minisblack")
    with pytest.raises(InputError, match=r"c.tif: holds the label 1\.0625"):
        read_masks((tmp_path / "c.tif",), THREE)


def test_masks_of_other_kinds_are_never_thresholded_in_silence(tmp_path):
    """An area between black and white, white alone, and colours that are all nearly black."""
    around = cv2.dilate(SHAPE, np.ones((7, 7))) - SHAPE
    faulty = {
        "a.png": 255 * SHAPE + 127 * around,  # cup, disc and background
        "b.png": 254 + SHAPE,  # 0 and 1, stored inverted
        "c.png": 1 + 254 * SHAPE,
    }
    for name, values in faulty.items():
        save(tmp_path / name, values.astype("uint8"))
    dark = Image.fromarray(SHAPE, "L").convert("P")
    dark.putpalette([0, 0, 0, 20, 20, 20])
    dark.save(tmp_path / "d.png")
    words = ("hold 127", "254 to 255", "holds 1 and 255", "nearly black")
    for name, word in zip([*faulty, "d.png"], words, strict=True):
        with pytest.raises(InputError, match=f"{name}: .*{word}"):
            read_one(tmp_path / name)
    thin = cv2.erode(SHAPE, np.ones((3, 3)))
    save(tmp_path / "e.png", 255 * thin + 127 * (SHAPE - thin))  # an edge is no area
    np.testing.assert_array_equal(read_one(tmp_path / "e.png"), thin)
    save(tmp_path / "f.png", 254 * SHAPE)
    np.testing.assert_array_equal(read_one(tmp_path / "f.png"), SHAPE)


def test_a_mask_that_stores_white_as_0_and_one_of_several_pages(tmp_path):
    for bits, top in (("uint8", 255), ("uint16", 65535)):
        values = np.where(SHAPE, 0, top).astype(bits)
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
        np.testing.assert_array_equal(read_one(tmp_path / "a.tif"), SHAPE)
    tifffile.imwrite(tmp_path / "c.tif", SHAPE > 0)  # of 1 bit, white is 0 in it
    with pytest.raises(InputError, match="c.tif: stores white as 0"):
        read_one(tmp_path / "c.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.stack([SHAPE] * 3), photometric="minisblack")
    with pytest.raises(InputError, match="b.tif: holds 3 pages"):
        read_one(tmp_path / "b.tif")


# what `check` says --------------------------------------------------------------------------------


def folder_of(tmp_path, *masks):
    for number, mask in enumerate(masks):
        save(tmp_path / "images" / f"p{number}.png", picture(number))
        save(tmp_path / "masks" / f"p{number}.png", mask)
    return tmp_path


@pytest.mark.parametrize(
    ("masks", "word"),
    [
        ([disc() * 0 + 255] * 6, "full"),
        ([255 - disc()] * 6, "inverted"),
        ([disc()] * 5 + [disc(1)], "differ"),
        ([disc() * 0] * 6, "empty"),
    ],
)
def test_check_warns_of_masks_that_are_seldom_meant(tmp_path, masks, word):
    report = check(TASK, folder_of(tmp_path, *masks))
    assert any(word in line for line in report.warnings)
    assert bool(report.errors) == (word == "empty")  # which training refuses, too
    report = check(TASK, folder_of(tmp_path / "sound", *[disc()] * 6))
    assert not [line for line in report.warnings if "patient" not in line]


def test_check_says_which_reading_was_taken_and_how_much_is_ignored(tmp_path):
    binary_folder(tmp_path, [f"a{i}" for i in range(5)])
    for path in (tmp_path / "masks").iterdir():
        Image.fromarray(SHAPE[..., None] * np.uint8([200, 0, 0])).quantize(2).save(path)
    assert any("palette" in line for line in check(TASK, tmp_path).notes)
    values, border = with_border()
    folder = folder_of(tmp_path / "ignore", *[values] * 4)
    report = check(replace(TASK, ignore=255), folder)
    (note,) = [line for line in report.notes if line.startswith("Ignored")]
    assert f"{4 * border.sum()} pixels" in note and "4 of 4" in note
    assert report.pixels["p0"] == (border.size - border.sum(), [SHAPE.sum()])


def test_many_files_with_one_fault_are_one_line_with_the_likely_cause(tmp_path):
    folder = folder_of(tmp_path, *[disc()] * 12)
    (error,) = check(Task("t", THREE), folder).errors
    assert "p0.png" in error and "12 files" in error and "binary mask?" in error
    assert "3 classes" in error
    folder = folder_of(tmp_path / "labels", *[rows_of_labels()] * 12)
    (error,) = check(TASK, folder).errors
    assert "12 files" in error and "label map?" in error


def test_plain_masks_need_no_word(tmp_path):
    save(tmp_path / "a.png", disc())
    assert describe_masks((tmp_path / "a.png",), ONE) == ["0 and 255"]


def test_ignored_pixels_reach_training_with_weight_0(tmp_path):
    from transfuse_keras.data.cache import read_resized
    from transfuse_keras.data.order import Order
    from transfuse_keras.data.pipeline import batches
    from transfuse_keras.data.splits import find_splits
    from transfuse_keras.tasks import Augmentation

    values, border = with_border()
    mirrored = Augmentation(flip_horizontal=True, flip_vertical=True)
    task = replace(TASK, ignore=255, augmentation=mirrored)
    folder = folder_of(tmp_path, *[values] * 4)
    arrays = read_resized(find_splits(task, folder)["train"], (30, 40))
    order = Order(len(arrays[0]), 2, 0, (0, 1), False)
    normalization = ((0,) * 3, (1,) * 3)
    flips = {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    for _, masks, weights in batches(*arrays, task, normalization, order, augmented=True):
        for mask, weight in zip(masks.numpy()[..., 0], weights.numpy(), strict=True):
            assert any(
                (mask[::y, ::x] == SHAPE).all() and (weight[::y, ::x] == 1 - border).all()
                for y, x in flips
            )


def test_ignored_pixels_are_not_scored():
    from transfuse_keras.evaluation.evaluate import score_case

    values, border = with_border()
    truth = np.where(border, IGNORED, SHAPE)[..., None]
    swollen = (SHAPE | border)[..., None]
    (row,) = score_case(truth, swollen, None, ONE)
    perfect = {"dice": 1, "iou": 1, "accuracy": 1, "precision": 1, "recall": 1, "hd_px": 0}
    assert perfect.items() <= row.items()
    missed = swollen.copy()
    missed[:15] = 0
    (row,) = score_case(truth, missed, None, ONE)
    kept = border == 0
    assert row["accuracy"] == pytest.approx((missed[..., 0] == SHAPE)[kept].mean())
    assert row["recall"] == pytest.approx(SHAPE[15:].sum() / SHAPE.sum())
