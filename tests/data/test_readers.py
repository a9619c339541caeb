import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from data.files import disc, picture, rows_of_labels, save
from PIL import Image

from transfuse_keras.data import decode
from transfuse_keras.data.readers import read_image, read_masks, read_pair
from transfuse_keras.errors import InputError

HIP = ("pelvis", "left_femur", "right_femur")


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_colour_images_keep_every_pixel(tmp_path, suffix):
    save(tmp_path / f"a.{suffix}", picture(3))
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), picture(3))


def test_grayscale_palette_and_transparent_images(tmp_path):
    path = tmp_path / "a.png"
    grey = picture(3)[..., 0]
    Image.fromarray(grey).save(path)
    np.testing.assert_array_equal(read_image(path), grey[..., None].repeat(3, axis=2))
    np.testing.assert_array_equal(read_image(path, channels=1), grey[..., None])
    rgba = np.dstack([picture(3), np.full(grey.shape, 7, "uint8")])
    Image.fromarray(rgba).save(path)
    np.testing.assert_array_equal(read_image(path), picture(3))
    Image.fromarray(np.dstack([grey, grey // 2])).save(path)  # LA
    np.testing.assert_array_equal(read_image(path)[..., 1], grey)
    few = (picture(3) // 64) * 64
    Image.fromarray(few).convert("P", palette=Image.Palette.ADAPTIVE).save(path)
    np.testing.assert_array_equal(read_image(path), few)
    Image.fromarray(grey > 100).save(path)  # one bit
    np.testing.assert_array_equal(read_image(path)[..., 0], 255 * (grey > 100))
    save(path, picture(3))
    luminance = picture(3) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(read_image(path, channels=1)[..., 0], luminance, atol=1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("bits", "factor"), [(16, 257), (12, 16.058), (10, 4.01), (8, 1)])
def test_deep_images_are_divided_by_the_range_of_their_bits(tmp_path, suffix, bits, factor):
    grey = picture(3)[..., 0]
    grey[0, 0] = 255
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), np.round(grey * float(factor)).astype("uint16"))
    found = read_image(tmp_path / f"a.{suffix}", channels=1)[..., 0].astype(int)
    assert np.abs(found - grey).max() <= 1
    colour = (picture(3).astype("uint16") * 257)[..., ::-1]
    cv2.imwrite(str(tmp_path / f"b.{suffix}"), colour)
    np.testing.assert_array_equal(read_image(tmp_path / f"b.{suffix}"), picture(3))


def test_negative_pixels_are_refused(tmp_path):
    Image.fromarray(np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="a.tif: has negative pixels"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1)), (8, lambda x: np.rot90(x))],
)
def test_exif_rotation_is_carried_out(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture(3)).save(tmp_path / "a.jpg", exif=exif, quality=100)
    Image.fromarray(picture(3)).save(tmp_path / "plain.jpg", quality=100)
    wanted = upright(read_image(tmp_path / "plain.jpg"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), wanted)


@pytest.mark.parametrize("bits", [8, 16])
def test_only_exif_turns_a_picture(tmp_path, bits):
    """As browsers and OpenCV have it; XMP that an editor has left behind tells nothing."""
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    colours = picture(3).astype(f"uint{bits}") << (bits - 8)
    options = {"photometric": "rgb", "extratags": [(700, "B", len(xmp), xmp, True)]}
    tifffile.imwrite(tmp_path / "a.tif", colours, **options)
    assert cv2.imwrite(str(tmp_path / "a.png"), colours[..., ::-1])
    content, text = (tmp_path / "a.png").read_bytes(), b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
    chunk = struct.pack(">I", len(text)) + b"iTXt" + text
    chunk += struct.pack(">I", zlib.crc32(b"iTXt" + text))
    for name, place in (("a.png", 33), ("behind.png", len(content) - 12)):
        (tmp_path / name).write_bytes(content[:place] + chunk + content[place:])
    Image.fromarray(picture(3)).save(tmp_path / "a.jpg", quality=100, subsampling=0)
    content, part = (tmp_path / "a.jpg").read_bytes(), b"http://ns.adobe.com/xap/1.0/\0" + xmp
    part = b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part
    (tmp_path / "a.jpg").write_bytes(content[:2] + part + content[2:])
    for path in tmp_path.iterdir():
        assert Image.open(path).getexif()[0x0112] == 6  # what Pillow believes
        found = read_image(path, value_range=(0, 2**bits - 1))
        assert np.abs(found.astype(int) - picture(3)).max() <= 3


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_on_its_side_is_turned(tmp_path, bits, compression):
    grey = picture(3)[..., 0].astype(f"uint{bits}") << (bits - 8)
    tag = (274, "H", 1, 6, True)  # orientation: the first row is the right side
    options = {"photometric": "minisblack", "compression": compression, "extratags": [tag]}
    tifffile.imwrite(tmp_path / "a.tif", grey, **options)
    tifffile.imwrite(tmp_path / "b.tif", np.where(grey, 255, 0).astype("uint8"), **options)
    wanted = np.rot90(picture(3)[..., 0], -1)
    found = read_image(tmp_path / "a.tif", 1)[..., 0]
    np.testing.assert_allclose(found, wanted, atol=1)
    np.testing.assert_array_equal(read_one(tmp_path / "b.tif"), wanted > 0)


def test_the_transparency_of_a_palette_is_dropped_without_a_word(tmp_path):
    indices = Image.fromarray(picture(3)[..., 0]).convert("P")
    indices.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype="uint8").tobytes())
    indices.save(tmp_path / "a.png", transparency=bytes(range(256)))
    shown = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_COLOR)[..., ::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), shown)


@pytest.mark.parametrize("channels", [2, 4])
def test_colours_that_transparency_has_darkened_are_what_they_were(tmp_path, channels):
    colours = picture(3)[..., :1] if channels == 2 else picture(3)
    alpha = np.where(disc(1), 255, 51)[..., None].astype("uint8")
    darkened = np.round(colours * (alpha / 255)).astype("uint8")
    stored, path = np.concatenate([darkened, alpha], axis=2), tmp_path / "a.tif"
    kind = "minisblack" if channels == 2 else "rgb"
    tifffile.imwrite(path, stored, photometric=kind, extrasamples=["assocalpha"])
    found = read_image(path).astype(int)
    np.testing.assert_allclose(found, np.broadcast_to(colours, found.shape), atol=3)
    shape = np.concatenate([255 * disc(1)[..., None]] * channels, axis=2)
    tifffile.imwrite(path, shape, photometric=kind, extrasamples=["assocalpha"])
    np.testing.assert_array_equal(read_one(path), disc(1))


def test_signed_bytes_are_not_taken_for_large_ones(tmp_path):
    for name, lowest in (("a.tif", 0), ("b.tif", -1)):
        values = np.full((8, 9), lowest, "int8")
        values[2:4] = 100
        tifffile.imwrite(tmp_path / name, values, photometric="minisblack")
    np.testing.assert_array_equal(np.unique(read_image(tmp_path / "a.tif")), [0, 100])
    for read in (read_image, read_one):
        with pytest.raises(InputError, match="b.tif: .*negative"):
            read(tmp_path / "b.tif")


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "float32"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_the_order_of_bytes_is_that_of_the_file(tmp_path, dtype, order, compression):
    values, path = (picture(3)[..., 0] + 1).astype(dtype), tmp_path / "a.tif"
    options = {"byteorder": order, "compression": compression, "photometric": "minisblack"}
    tifffile.imwrite(path, values, **options)
    np.testing.assert_array_equal(tifffile.imread(path), values)
    if order == ">" and compression and dtype != "uint16":  # which Pillow reads wrong
        with pytest.raises(InputError, match="a.tif: .*big endian"):
            read_image(path)
    else:
        np.testing.assert_array_equal(read_image(path, 1)[..., 0], values)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.9])
def test_no_part_of_a_truncated_file_is_taken_for_the_image(tmp_path, suffix, kept):
    rng = np.random.default_rng(0)
    path = tmp_path / f"a.{suffix}"
    save(path, rng.integers(0, 256, (64, 64, 3), dtype="uint8"))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    with pytest.raises(InputError, match=rf"a.{suffix}: not a readable image"):
        read_image(path)


def test_image_bombs_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "LARGEST_PICTURE", 1000)
    save(tmp_path / "a.png", picture(3))
    with pytest.raises(InputError, match="a.png: .*40x30 pixels, too many"):
        read_image(tmp_path / "a.png")
    monkeypatch.undo()
    huge = bytearray((tmp_path / "a.png").read_bytes())
    huge[16:24] = b"\x00\x01\x00\x00" * 2  # IHDR says 65536x65536
    (tmp_path / "b.png").write_bytes(huge)
    with pytest.raises(InputError, match="b.png: "):
        read_image(tmp_path / "b.png")


# masks ---------------------------------------------------------------------------------------


def read_one(path):
    return read_masks((path,), ("polyp",))[..., 0]


@pytest.mark.parametrize("value", [1, 255])
def test_masks_of_one_class(tmp_path, value):
    save(tmp_path / "a.png", disc(value))
    np.testing.assert_array_equal(read_one(tmp_path / "a.png"), disc(1))
    rgb = np.repeat(disc(value)[..., None], 3, axis=2)
    save(tmp_path / "b.png", rgb)
    np.testing.assert_array_equal(read_one(tmp_path / "b.png"), disc(1))
    Image.fromarray(disc(value) > 0).save(tmp_path / "c.png")
    np.testing.assert_array_equal(read_one(tmp_path / "c.png"), disc(1))
    Image.fromarray(np.dstack([rgb, 0 * disc() + 7])).save(tmp_path / "d.png")
    np.testing.assert_array_equal(read_one(tmp_path / "d.png"), disc(1))
    save(tmp_path / "e.png", np.zeros((30, 40), "uint8"))
    assert not read_one(tmp_path / "e.png").any()


def test_masks_saved_as_jpeg_and_soft_edges(tmp_path):
    for quality in (95, 50):
        for mask in (disc(), np.repeat(disc()[..., None], 3, axis=2)):
            Image.fromarray(mask).save(tmp_path / "a.jpg", quality=quality)
            assert len(np.unique(cv2.imread(str(tmp_path / "a.jpg"), 0))) > 2
            assert (read_one(tmp_path / "a.jpg") != disc(1)).mean() < 0.01
    large = cv2.resize(disc(), (160, 120), interpolation=cv2.INTER_LINEAR)
    save(tmp_path / "soft.png", large)
    found = read_one(tmp_path / "soft.png")
    assert set(np.unique(found)) == {0, 1}
    assert found.mean() == pytest.approx(disc(1).mean(), rel=0.02)
    Image.fromarray(np.zeros((30, 40), "uint8")).save(tmp_path / "empty.jpg")
    assert not read_one(tmp_path / "empty.jpg").any()


def test_palette_masks(tmp_path):
    picture = Image.fromarray(rows_of_labels()).convert("P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    picture.save(tmp_path / "labels.png")
    masks = read_masks((tmp_path / "labels.png",), HIP)
    np.testing.assert_array_equal(masks, rows_of_labels()[..., None] == [1, 2, 3])
    one = Image.fromarray(disc(1)).convert("P")
    one.putpalette([0, 0, 0, 128, 0, 0])
    one.save(tmp_path / "red.png")
    np.testing.assert_array_equal(read_one(tmp_path / "red.png"), disc(1))
    inverted = Image.fromarray(1 - disc(1)).convert("P")
    inverted.putpalette([255, 255, 255, 0, 0, 0])  # index 0 is white
    inverted.save(tmp_path / "white.png")
    np.testing.assert_array_equal(read_one(tmp_path / "white.png"), disc(1))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("a.png", disc(2), "a.png: .*label 2"),
        ("a.png", disc(100), "a.png: .*largest value is 100"),
        ("a.png", picture(1), "a.png: .*colour"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path, name, array, message):
    save(tmp_path / name, array)
    with pytest.raises(InputError, match=message):
        read_one(tmp_path / name)


def test_a_label_map_saved_as_jpeg_is_refused(tmp_path):
    Image.fromarray(rows_of_labels()).save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="a.jpg: JPEG may have"):
        read_masks((tmp_path / "a.jpg",), HIP)


def test_class_files_of_different_sizes_are_refused(tmp_path):
    save(tmp_path / "a.png", disc())
    save(tmp_path / "b.png", disc()[:20])
    with pytest.raises(InputError, match="b.png: .*size .*a.png"):
        read_masks((tmp_path / "a.png", tmp_path / "b.png"), ("a", "b"))


def test_reading_a_pair_warns_of_nothing(tmp_path):
    save(tmp_path / "a.png", picture(1))
    save(tmp_path / "m.png", disc())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image, masks = read_pair(tmp_path / "a.png", (tmp_path / "m.png",), ("x",))
    assert image.shape == (30, 40, 3) and masks.shape == (30, 40, 1)


@pytest.mark.parametrize("lowest", [0, 2])
def test_indices_that_the_palette_lacks_make_no_mask_but_may_be_labels(tmp_path, lowest):
    indices = np.array([[lowest, 2, 3]] * 3, "uint8")
    picture = Image.fromarray(indices)
    picture.putpalette([0, 0, 0, 250, 255, 255])
    picture.save(tmp_path / "m.bmp")
    with pytest.raises(InputError, match="m.bmp: .*palette"):
        read_masks((tmp_path / "m.bmp",), ("a",))
    masks = read_masks((tmp_path / "m.bmp",), ("a", "b", "c"))
    np.testing.assert_array_equal(masks, indices[..., None] == np.array([1, 2, 3]))


def test_postscript_under_another_name_starts_no_ghostscript(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr("subprocess.Popen", lambda *arguments, **_: started.append(arguments))
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(InputError, match="a.png: not a readable image"):
        read_image(tmp_path / "a.png")
    assert not started


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    Image.fromarray(picture(3)).save(path, progressive=True)
    content = path.read_bytes()
    start, last = content.index(b"\xff\xc2") + 5, content.rindex(b"\xff\xda")
    content = content[:start] + b"\x2a\xf8\x2a\xf8" + content[start + 4 :]  # 11000 x 11000
    path.write_bytes(content[:-2] + content[last:-2] * 5000 + content[-2:])
    with pytest.raises(InputError, match=r"a.jpg: .*50\d\d scans, too many"):
        read_image(path)
