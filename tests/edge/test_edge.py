"""The script for devices beside the package: the same numbers, files and sentences."""

import importlib.util
import io
import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tifffile
from data.files import save
from PIL import Image, PngImagePlugin

import transfuse_keras as tk
from transfuse_keras.data import readers
from transfuse_keras.data.pictures import overlay
from transfuse_keras.data.resize import resize_image
from transfuse_keras.export.litert import export_litert
from transfuse_keras.files import portable
from transfuse_keras.inference import predict_files as predicting
from transfuse_keras.inference.inputs import Input
from transfuse_keras.inference.masks import MARGIN, to_masks
from transfuse_keras.inference.outputs import output_names
from transfuse_keras.inference.predictor import load_predictor
from transfuse_keras.tasks import hip

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "edge" / "transfuse_edge.py"
SIZE = (32, 48)
NEEDED = ("numpy", "opencv-python-headless", "ai-edge-litert")

spec = importlib.util.spec_from_file_location("transfuse_edge", SCRIPT)
edge = importlib.util.module_from_spec(spec)
spec.loader.exec_module(edge)


@pytest.mark.parametrize("size", [(20, 30), (70, 90)])
def test_maps_of_many_classes_are_resized_as_in_the_package(size):
    maps = np.random.default_rng(0).random((50, 61, 6), "float32")
    np.testing.assert_array_equal(edge.resize(maps, size), resize_image(maps, size))


def describe(path, classes, thresholds, exclusive=False, sure=(), **given):
    """Write the .json of a .tflite file."""
    inputs = {"size": SIZE, "channels": 3, "dtype": "float32", "values": "RGB, 0-255", **given}
    about = {
        "task": "hip",
        "format": "litert",
        "quantize": "none",
        "classes": classes,
        "thresholds": thresholds,
        "sure": list(sure),
        **{"exclusive": exclusive, "mirror_pairs": [], "field": None, "flips": "", "protocols": []},
        "input": inputs,
        "output": "probabilities (batch, height, width, class)",
    }
    Path(f"{path}.json").write_text(json.dumps(about))
    return path


def export_convolution(channels, classes, path):
    image = keras.Input((*SIZE, channels))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = keras.layers.Conv2D(classes, 3, padding="same", activation="sigmoid")(x)
    signature = [keras.InputSpec(shape=(1, *SIZE, channels), dtype="float32")]
    keras.Model(image, x).export(path, format="litert", input_signature=signature, verbose=False)


@pytest.fixture(scope="module")
def tflite(tmp_path_factory):
    """A function from the numbers of channels and classes to the bytes of a small model: the
    smallest TransFuse for RGB and three classes, else a convolution, which is exported sooner."""
    known = {}

    def make(build, channels, classes):
        if (channels, classes) not in known:
            path = tmp_path_factory.mktemp("exported") / "model.tflite"
            if (channels, classes) == (3, 3):
                export_litert(build((*SIZE, channels), classes), path)
            else:
                export_convolution(channels, classes, path)
            known[channels, classes] = path.read_bytes()
        return known[channels, classes]

    return make


@pytest.fixture
def exported(smallest, tflite, tmp_path):
    """A function that writes model.tflite and its .json; arguments as of `describe`."""

    def make(thresholds, exclusive=False, channels=3, **given):
        path = tmp_path / "model.tflite"
        path.write_bytes(tflite(smallest, channels, len(thresholds)))
        classes = hip.classes[: len(thresholds)]
        return describe(path, classes, thresholds, exclusive, channels=channels, **given)

    return make


def picture(size, seed=0):
    """A smooth RGB image with structure at every place."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype="uint8")
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def between(maps):
    """A threshold of each class that about half of its pixels reach."""
    return [float(x) for x in np.median(maps, axis=(0, 1))]


# larger than the model, smaller, equal, and larger on one side only
@pytest.mark.slow
@pytest.mark.parametrize("size", [(75, 101), (20, 31), SIZE, (20, 101)])
@pytest.mark.parametrize("exclusive", [False, True])
def test_probabilities_masks_and_outlines_are_those_of_the_package(size, exclusive, exported):
    path, image = exported([0.5, 0.5, 0.5]), picture(size)
    wanted = tk.predict(load_predictor(path), image)
    assert np.ptp(wanted) > 0.01
    for thresholds in ([0.5, 0.5, 0.5], between(wanted), [0.3, *between(wanted)[1:]]):
        segmenter = edge.Segmenter(exported(thresholds, exclusive))
        found = segmenter.probabilities(image)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted)
        masks = segmenter.masks(image)
        assert masks.dtype == np.uint8
        np.testing.assert_array_equal(masks, to_masks(wanted, thresholds, exclusive))
        np.testing.assert_array_equal(edge.overlay(image, masks), overlay(image, masks))


@pytest.mark.slow
def test_of_a_sure_class_sure_components_stay(exported):
    image = picture((75, 101))
    wanted = tk.predict(load_predictor(exported([0.5, 0.5, 0.5])), image)
    thresholds = [float(x) for x in np.quantile(wanted, 0.7, axis=(0, 1))]
    segmenter = edge.Segmenter(exported(thresholds, sure=["pelvis", "right_femur"]))
    assert edge.MARGIN == MARGIN
    masks, all_of_them = segmenter.masks(image), to_masks(wanted, thresholds)
    np.testing.assert_array_equal(masks, to_masks(wanted, thresholds, sure=[0, 2]))
    np.testing.assert_array_equal(masks[..., 1], all_of_them[..., 1])
    assert (masks < all_of_them).any()
    with pytest.raises(edge.InputError, match="sure"):
        edge.Segmenter(exported(thresholds, sure=["hand"]))


@pytest.mark.slow
@pytest.mark.parametrize("flips", ["h", "v", "hv"])
def test_mirror_images_are_averaged_as_in_the_package(flips, exported):
    path, image = exported([0.5, 0.5, 0.5]), picture((75, 101))
    predictor = load_predictor(path)
    wanted = tk.predict(predictor, image, flips, mirrored_classes=hip.mirrored_classes)
    file = Path(f"{path}.json")
    about = json.loads(file.read_text()) | {"flips": flips, "mirror_pairs": hip.mirror_pairs}
    file.write_text(json.dumps(about))
    np.testing.assert_array_equal(edge.Segmenter(path).probabilities(image), wanted)
    assert (wanted != tk.predict(predictor, image)).any()
    file.write_text(json.dumps(about | {"flips": "x"}))
    with pytest.raises(edge.InputError, match="flips is x"):
        edge.Segmenter(path)


def test_a_probability_that_equals_its_threshold_counts(exported, monkeypatch):
    segmenter = edge.Segmenter(exported([0.3, 0.5, 0.7], exclusive=True))
    maps = np.float32([[[0.3, 0.29, 0.1], [0.3, 0.5, 0.1], [0.6, 0.5, 0.69], [0.1, 0.1, 0.7]]])
    monkeypatch.setattr(segmenter, "probabilities", lambda image: maps)
    assert segmenter.masks(None).tolist() == [[[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]]


def test_the_number_of_threads_changes_no_number(exported):
    path, image = exported([0.5] * 3), picture(SIZE)
    one, three = (edge.Segmenter(path, n).probabilities(image) for n in (1, 3))
    np.testing.assert_array_equal(one, three)


def test_a_model_of_one_channel_sees_the_brightness(exported, tmp_path):
    path, image = exported([0.5, 0.5], channels=1), picture((40, 60))
    save(tmp_path / "a.png", image)
    wanted = tk.predict(load_predictor(path), readers.read_image(tmp_path / "a.png", channels=1))
    found = edge.Segmenter(path).probabilities(edge.read_image(tmp_path / "a.png"))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_model_is_fed_the_type_that_it_takes(dtype, exported, monkeypatch):
    fed = []

    class Recorder:
        """Stands for an Interpreter whose one map is the red channel."""

        def __init__(self, path, num_threads):
            self.allocate_tensors = self.invoke = lambda: None

        def get_input_details(self):
            return [{"index": 0, "shape": np.array([1, *SIZE, 3]), "dtype": dtype}]

        def get_output_details(self):
            return [{"index": 1, "shape": np.array([1, *SIZE, 1]), "dtype": np.float32}]

        def set_tensor(self, index, pixels):
            fed.append(pixels)

        def get_tensor(self, index):
            return fed[-1][..., :1].astype("float32") / 255

    path, image = exported([0.5]), picture(SIZE)
    monkeypatch.setattr(edge, "Interpreter", Recorder)
    found = edge.Segmenter(path).probabilities(image)
    assert fed[0].dtype == dtype
    np.testing.assert_array_equal(fed[0][0], image)
    np.testing.assert_array_equal(found, image[..., :1].astype("float32") / 255)


@pytest.mark.parametrize(
    "image", [picture(SIZE)[..., 0], picture(SIZE)[..., :1], picture(SIZE) / 255]
)
def test_an_image_of_another_kind_is_refused(image, exported):
    with pytest.raises(ValueError, match=r"must be uint8 \(H, W, 3\)"):
        edge.Segmenter(exported([0.5])).probabilities(image)


def encode(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def rotated(number):
    exif = Image.Exif()
    exif[0x0112] = number  # Orientation
    return {"exif": exif}


def tiff(pixels, **options):
    file = io.BytesIO()
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def bmp(bits, masks):
    """A BMP (BITMAPINFOHEADER, https://learn.microsoft.com/windows/win32/gdi) of 8 x 6 pixels of
    which masks tell the bits of red, green and blue."""
    data = np.random.default_rng(0).bytes(6 * 8 * bits // 8)
    sizes = 40, 8, 6, 1, bits, 3, len(data), 0, 0, 0, 0
    header = struct.pack("<IiiHHIIiiII", *sizes) + struct.pack("<3I", *masks)
    return struct.pack("<2sIII", b"BM", 66 + len(data), 0, 66) + header + data


SIDEWAYS = {"extratags": [(274, "H", 1, 6, True)]}  # orientation: the first row is the right side
COLOUR = Image.fromarray(picture((30, 44)))
GRAY = COLOUR.convert("L")
DEEP = np.asarray(GRAY).astype("uint16") * 16
PLANES = np.asarray(COLOUR).transpose(2, 0, 1) * np.uint16(257)
TURNED = GRAY.rotate(180)
XMP = PngImagePlugin.PngInfo()  # says that the picture is turned, where EXIF does not
XMP.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="6"/>')
FILES = {
    "rgb.png": encode(COLOUR, "PNG"),
    "gray.png": encode(GRAY, "PNG"),
    "rgba.png": encode(Image.merge("RGBA", [*COLOUR.split(), GRAY]), "PNG"),
    "gray-alpha.png": encode(Image.merge("LA", [GRAY, GRAY]), "PNG"),
    "palette.png": encode(COLOUR.quantize(16), "PNG"),
    "1bit.png": encode(COLOUR.convert("1"), "PNG"),
    "12bit.png": encode(Image.fromarray(DEEP), "PNG"),
    "16bit.png": encode(Image.fromarray(DEEP * 16), "PNG"),
    "16bit-rgb.png": cv2.imencode(".png", np.asarray(COLOUR)[..., ::-1] * np.uint16(257))[1],
    "12bit.tif": encode(Image.fromarray(DEEP), "TIFF"),
    "rgb.tif": encode(COLOUR, "TIFF", compression="tiff_lzw"),
    "12bit-rgb.png": cv2.imencode(".png", np.asarray(COLOUR)[..., ::-1] * np.uint16(16))[1],
    "16bit-alpha.png": cv2.imencode(".png", np.dstack([COLOUR, GRAY]) * np.uint16(257))[1],
    "16bit-white-is-0.tif": tiff(DEEP * 16, photometric="miniswhite"),
    "16bit-big-endian.tif": tiff(DEEP * 16, byteorder=">"),
    "16bit-rgb.tif": tiff(np.asarray(COLOUR) * np.uint16(257), photometric="rgb"),
    "8bit-white-is-0.tif": tiff(np.asarray(GRAY), photometric="miniswhite"),
    "float.tif": tiff(np.asarray(GRAY).astype("float32") / 255),
    "float255.tif": tiff(np.asarray(GRAY).astype("float32")),
    "xmp.png": encode(COLOUR, "PNG", pnginfo=XMP),
    "8bit-sideways.tif": tiff(np.asarray(GRAY), **SIDEWAYS),
    "16bit-sideways.tif": tiff(DEEP, **SIDEWAYS),
    "rgb.bmp": encode(COLOUR, "BMP"),
    "masked.bmp": bmp(32, (0xFF0000, 0xFF00, 0xFF)),
    **{f"turned-{n}.png": encode(COLOUR, "PNG", **rotated(n)) for n in range(2, 9)},
}


@pytest.mark.parametrize("value_range", [None, (100.0, 3000.0)])
@pytest.mark.parametrize("name", FILES)
def test_a_lossless_file_is_read_as_the_package_reads_it(name, value_range, tmp_path):
    path = tmp_path / name
    path.write_bytes(FILES[name])
    found = edge.read_image(path, value_range)
    wanted = readers.read_image(path, value_range=value_range)
    assert found.dtype == np.uint8 and (np.ptp(wanted) > 100 or value_range)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cmyk.jpg", lambda: encode(COLOUR.convert("CMYK"), "JPEG")),
        ("cmyk.tif", lambda: encode(COLOUR.convert("CMYK"), "TIFF")),
        ("pages.tif", lambda: tiff(np.stack([GRAY, GRAY]))),
        ("alpha.tif", lambda: encode(Image.merge("RGBA", [*COLOUR.split(), GRAY]), "TIFF")),
        ("nan.tif", lambda: tiff(np.full((9, 9), np.nan, "float32"))),
        ("lab.tif", lambda: encode(COLOUR.convert("LAB"), "TIFF")),
        ("ycbcr.tif", lambda: encode(COLOUR.convert("YCbCr"), "TIFF")),
        ("jpeg2000.tif", lambda: tiff(np.asarray(GRAY), compression="jpeg2000")),
        ("float-rgb.tif", lambda: tiff(np.float32(COLOUR) / 255, photometric="rgb")),
        ("tiles.tif", lambda: tiff(np.asarray(GRAY), tile=(16, 16), compression="lzw", **SIDEWAYS)),
        ("signed-rgb.tif", lambda: tiff(np.int16(COLOUR), photometric="rgb")),
        ("signed-white-is-0.tif", lambda: tiff(np.int16(GRAY), photometric="miniswhite")),
        ("big.tif", lambda: tiff(DEEP, photometric="miniswhite", byteorder=">")),
        ("big-signed.tif", lambda: tiff(np.int16(GRAY), byteorder=">", compression="lzw")),
        ("planes.tif", lambda: tiff(PLANES, photometric="rgb", planarconfig="separate")),
        ("animated.png", lambda: encode(GRAY, "PNG", save_all=True, append_images=[TURNED])),
        ("16bit.bmp", lambda: bmp(16, (0xF800, 0x7E0, 0x1F))),
        ("masked.bmp", lambda: bmp(32, (0xFF000000, 0xFF0000, 0xFF00))),
        ("image.gif", lambda: encode(GRAY, "GIF")),
        ("image.webp", lambda: encode(COLOUR, "WEBP")),
        ("image.jp2", lambda: encode(COLOUR, "JPEG2000")),
    ],
)
def test_what_opencv_reads_otherwise_is_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content())
    with pytest.raises(edge.InputError, match=name):
        edge.read_image(tmp_path / name)


# both decode with libjpeg-turbo, but each with its own release
@pytest.mark.parametrize("number", range(1, 9))
def test_a_photograph_is_turned_upright_and_decoded_within_two_levels(number, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(COLOUR, "JPEG", quality=75, **rotated(number)))
    found, wanted = edge.read_image(path), readers.read_image(path)
    assert found.shape == wanted.shape == ((30, 44, 3) if number < 5 else (44, 30, 3))
    assert np.abs(found.astype(int) - wanted).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("letter", ["H", "I"])  # of the standard, and of careless writers
def test_an_orientation_of_another_type_is_read_alike(order, letter, kind, tmp_path):
    number = struct.pack(f"{order}{letter}", 6).ljust(4, b"\0")
    entry = struct.pack(f"{order}HHI", 274, {"H": 3, "I": 4}[letter], 1) + number
    exif = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, 1) + entry
    path = tmp_path / "a"
    path.write_bytes(encode(COLOUR, kind, exif=b"Exif\0\0" + exif + bytes(4)))
    found, wanted = edge.read_image(path), readers.read_image(path)
    assert found.shape == wanted.shape
    assert letter == "I" or found.shape == (44, 30, 3)  # which is turned


def test_dicom_is_refused_whatever_it_is_called(tmp_path):
    """Also with the header of a TIFF, which OpenCV would read."""
    plain = cv2.imencode(".tif", np.asarray(COLOUR), [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1]
    content = plain.tobytes()
    (tmp_path / "a.tif").write_bytes(content)
    assert edge.read_image(tmp_path / "a.tif").shape == (30, 44, 3)
    content = content[:128] + b"DICM" + content[132:]
    for name in ("a.tif", "IM0001"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(edge.InputError, match=f"{name}: is DICOM"):
            edge.read_image(tmp_path / name)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("count", "exclusive"), [(1, False), (1, True), (3, False), (3, True)])
def test_files_are_named_and_encoded_as_predict_does(
    count, exclusive, exported, tmp_path, monkeypatch, capsys
):
    images = [tmp_path / "in" / name for name in ("a.png", "b.c.png")]
    for seed, path in enumerate(images):
        save(path, picture((50, 70), seed))
    path = exported([0.5] * count)
    thresholds = between(tk.predict(load_predictor(path), readers.read_image(images[0])))
    path = exported(thresholds, exclusive)
    task = replace(hip, classes=hip.classes[:count], mirror_pairs=(), exclusive=exclusive)
    predicting.predict_files(path, images, tmp_path / "wanted", tuple(thresholds), task=task)
    capsys.readouterr()
    command = [str(part) for part in (path, *images, "--out", tmp_path / "new" / "found")]
    assert edge.main(command) == 0
    assert contents(tmp_path / "new" / "found") == contents(tmp_path / "wanted")
    first, second = capsys.readouterr().out.splitlines()
    masks = edge.Segmenter(path).masks(readers.read_image(images[0]))
    for name, share in zip(task.classes, masks.mean(axis=(0, 1)), strict=True):
        assert f", {name} {100 * share:.1f} %" in first
    assert first.startswith(f"{images[0]}: ") and " ms, " in second
    assert edge.main([*command, "--no-overlay", "--threads", "2"]) == 0


def test_a_class_is_part_of_the_name_of_a_file_as_in_predict(exported, tmp_path):
    every = "".join(map(chr, range(1, 256)))
    assert edge.portable(every) == portable(every)
    save(tmp_path / "a.png", picture(SIZE))
    path, out = exported([0.5] * 2), tmp_path / "out"
    command = [str(path), str(tmp_path / "a.png"), "--no-overlay", "--out", str(out)]
    describe(path, classes := ("L:4", "b?"), [0.5] * 2)
    assert edge.main(command) == 0
    task = replace(hip, classes=classes, mirror_pairs=())
    assert set(contents(out)) == set(output_names(Input("a", ()), task, overlays=False))


def test_without_overlay_only_masks_are_written(exported, tmp_path):
    save(tmp_path / "a.png", picture(SIZE))
    command = [exported([0.5]), tmp_path / "a.png", "--out", tmp_path / "out", "--no-overlay"]
    assert edge.main(list(map(str, command))) == 0
    assert set(contents(tmp_path / "out")) == {"a.png"}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP"])
def test_unreadable_images_do_not_stop_the_others(form, exported, tmp_path, capsys):
    name = f"cut.{form.lower()}"
    (tmp_path / name).write_bytes(encode(COLOUR, form)[:-600])
    (tmp_path / "broken.png").write_text("broken")
    (tmp_path / "empty.png").touch()
    save(tmp_path / "good.png", picture(SIZE))
    bad = [str(tmp_path / name) for name in (name, "broken.png", "empty.png")]
    path, out = str(exported([0.5])), tmp_path / "out"
    assert edge.main([path, *bad, "--out", str(out)]) == 2
    assert not out.exists()
    capsys.readouterr()
    assert edge.main([path, *bad, str(tmp_path / "good.png"), "--out", str(out)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in told] == bad
    assert set(contents(out)) == {"good.png", "good_overlay.png"}


def damage(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def another_class(folder):
    describe(folder / "model.tflite", ["a", "b"], [0.5, 0.5])


def classes_of_one_name(folder):
    export_convolution(3, 2, folder / "model.tflite")
    describe(folder / "model.tflite", ["a?", "a:"], [0.5, 0.5])


def volumes(folder):
    describe(folder / "model.tflite", ["a"], [0.5], values="z-scored by volume and channel")


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (lambda folder: (folder / "model.tflite").unlink(), [], "model.tflite: no such file"),
        (damage("model.tflite", b"no model"), [], "model.tflite: damaged"),
        (lambda folder: (folder / "model.tflite.json").unlink(), [], ".json: no such file"),
        (damage("model.tflite.json", b"{"), [], "model.tflite.json: damaged ("),
        (damage("model.tflite.json", b"[1]"), [], "model.tflite.json: damaged ("),
        (damage("model.tflite.json", b'{"classes": 1}'), [], "model.tflite.json: damaged ("),
        (another_class, [], "(not of the classes"),
        (classes_of_one_name, [], "NAME_a_.png"),
        (volumes, [], "slices of volumes"),
        (None, ["absent.png"], "absent.png: no such file"),
        (None, ["--out", "in/a.png"], "in/a.png: is not a folder"),
        (None, ["--out", "in"], "a.png is taken"),
        (None, ["other/a.png"], "a.png is taken"),
        (None, ["--threads", "0"], "threads must be 1"),
    ],
)
def test_unusable_input_is_one_sentence(
    prepare, arguments, message, exported, tmp_path, monkeypatch, capsys
):
    exported([0.5])
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "other/a.png"):
        save(tmp_path / name, picture(SIZE))
    if prepare:
        prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert edge.main(["model.tflite", "in/a.png", "--out", "out", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["a.png"], ["--out", "o"], ["a.png", "--camera", "0"], ["--camera", "x"]),
        ["a.png", "--out", "o", "--thread", "1"],  # half a name is no option
    ],
)
def test_arguments_that_do_not_go_together_are_one_sentence(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        edge.main(["model.tflite", *arguments])
    told = capsys.readouterr().err
    assert exit.value.code == 2 and told.count("\n") == 1 and "error: " in told


def test_the_camera_shows_outlines_until_q(exported, monkeypatch):
    path, frame = exported([0.5]), picture((60, 90))[..., ::-1]
    segmenter = edge.Segmenter(path)
    path = exported(between(segmenter.probabilities(frame[..., ::-1])))
    shown, keys = [], iter([-1, ord("x"), ord("q")])

    class Camera:
        def __init__(self, number):
            assert number == 1

        def read(self):
            return True, frame

    monkeypatch.setattr(cv2, "namedWindow", lambda name: None)
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(cv2, "imshow", lambda name, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "waitKey", lambda milliseconds: next(keys))
    assert edge.main([str(path), "--camera", "1"]) == 0
    image = np.ascontiguousarray(frame[..., ::-1])
    wanted = overlay(image, edge.Segmenter(path).masks(image))[..., ::-1]
    assert (wanted != frame).any()
    for picture_ in shown:  # below the frames per second
        np.testing.assert_array_equal(picture_[30:], wanted[30:])
    assert len(shown) == 2 and (shown[0][:30] == 255).all(axis=-1).any()


def test_without_a_window_or_camera_there_is_one_sentence(exported, monkeypatch, capsys):
    path = str(exported([0.5]))

    class Nothing:
        def __init__(self, number):
            self.read = lambda: (False, None)

    def headless(name):
        raise cv2.error("The function is not implemented.")

    monkeypatch.setattr(cv2, "namedWindow", headless)
    assert edge.main([path, "--camera", "0"]) == 2
    assert "install opencv-python" in capsys.readouterr().err
    monkeypatch.setattr(cv2, "namedWindow", lambda name: None)
    monkeypatch.setattr(cv2, "waitKey", lambda milliseconds: -1)
    monkeypatch.setattr(cv2, "VideoCapture", Nothing)
    assert edge.main([path, "--camera", "3"]) == 2
    assert "camera 3 " in capsys.readouterr().err


def test_the_page_on_devices_runs(exported, tmp_path):
    page = (ROOT / "docs" / "edge.md").read_text()
    exported([0.5, 0.5, 0.5])
    save(tmp_path / "image.jpg", picture((60, 80)))
    (tmp_path / SCRIPT.name).write_bytes(SCRIPT.read_bytes())
    blocks = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "(60, 80, 3)"
    assert cv2.imread(str(tmp_path / "overlay.png")).shape == (60, 80, 3)


@pytest.mark.slow
def test_the_script_runs_where_nothing_else_is_installed(exported, tmp_path):
    pins = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [line for line in pins if line.partition("==")[0] in NEEDED]
    assert len(pins) == len(NEEDED)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], check=True)
    for name in ("tensorflow", "keras", "transfuse_keras"):
        done = subprocess.run(
            [python, "-I", "-c", f"import {name}"], capture_output=True, text=True
        )
        assert f"No module named '{name}'" in done.stderr
    image = picture((75, 101))
    save(tmp_path / "image.png", image)
    probabilities = tk.predict(load_predictor(exported([0.5, 0.5, 0.5])), image)
    thresholds = between(probabilities)
    model = exported(thresholds)
    folder = tmp_path / "device"
    folder.mkdir()
    for path in (SCRIPT, model, Path(f"{model}.json"), tmp_path / "image.png"):
        (folder / path.name).write_bytes(path.read_bytes())
    command = [python, "-I", SCRIPT.name, model.name, "image.png", "--out", "masks"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wanted = to_masks(probabilities, thresholds)
    for i, name in enumerate(hip.classes):
        found = cv2.imread(str(folder / "masks" / f"image_{name}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(found, 255 * wanted[..., i])
    drawn = cv2.imread(str(folder / "masks" / "image_overlay.png"))[..., ::-1]
    np.testing.assert_array_equal(drawn, overlay(image, wanted))
