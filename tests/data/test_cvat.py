"""CVAT XML, against Datumaro, pycocotools and masks drawn by hand.

CVAT itself fills polygons by pycocotools.
"""

import cv2
import numpy as np
import pytest
from conftest import FIXTURES
from data.files import SIZE, picture, save
from pycocotools import mask as coco_mask

from transfuse_keras.data.classes import find_classes
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task

teeth = Task("teeth", ("molar", "root canal"), exclusive=True)
META = """<meta><task><labels>
<label><name>Root_Canal</name><type>any</type></label><label><name>molar</name></label>
<label><name>nerve</name><type>points</type><parent>jaw</parent></label>
</labels></task></meta>"""


def write(path, images):
    """A file of CVAT; images are name -> shapes as XML, or (name, subset) -> shapes."""
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{META}'
    for number, (name, shapes) in enumerate(images.items()):
        name, subset = name if isinstance(name, tuple) else (name, "")
        subset = f'subset="{subset}"' if subset else ""
        text += (
            f'<image id="{number}" name="{name}" {subset} width="40" height="30">{shapes}</image>'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}</annotations>", encoding="utf-8")


def shape(kind, label="molar", **values):
    shown = " ".join(f'{name}="{value}"' for name, value in values.items())
    return f'<{kind} label="{label}" occluded="0" source="manual" {shown}></{kind}>'


def read(folder, task=teeth):
    (sample,) = find_samples(task, folder).samples
    return sample.read()[1]


def read_one(tmp_path, text):
    save(tmp_path / "images" / "a.png", picture(0))
    write(tmp_path / "annotations.xml", {"a.png": text})
    return read(tmp_path)[..., 0].astype(bool)


def polygon_mask(points):
    (runs,) = coco_mask.frPyObjects([[float(x) for x in points]], *SIZE)
    return coco_mask.decode(runs).astype(bool)


@pytest.mark.parametrize("points", [(-6, 20, 9, 18, 13, 40, -6, 33), (3, 3, 40, 3, 40, 20, 3, 20)])
def test_polygons_are_those_of_pycocotools(tmp_path, points):
    text = ";".join(f"{x:.2f},{y:.2f}" for x, y in zip(points[::2], points[1::2], strict=True))
    mask = read_one(tmp_path, shape("polygon", points=text))
    np.testing.assert_array_equal(mask, polygon_mask(points))


def test_polygons_masks_and_boxes_are_those_of_datumaro(tmp_path):
    """cvat_datumaro.npz: this file as the importer "cvat" of Datumaro 1.13.12 reads it.
    Polygons and boxes were filled by pycocotools, the objects of a class laid together."""
    shapes = [
        shape("polygon", points="-6.00,20.00;9.00,18.00;13.00,40.00;-6.00,33.00"),
        shape("polygon", points="15.00,5.00;40.00,5.00;40.00,8.00;15.00,8.00"),
        # a square with a hole, at the right border
        shape(
            *("mask", "molar"),
            rle="21, 8, 2, 8, 2, 2, 4, 2, 2, 2, 4, 2, 2, 8, 1",
            **{"left": 30, "top": 20, "width": 10, "height": 7},
        ),
        shape("box", "Root_Canal", xtl=10, ytl=4, xbr=22, ybr=9),
        shape("box", "Root_Canal", xtl=20, ytl=14, xbr=30, ybr=19, rotation=30),
    ]
    save(tmp_path / "images" / "a.png", picture(0))
    write(tmp_path / "annotations.xml", {"a.png": "".join(shapes)})
    masks = read(tmp_path, Task("teeth", ("molar", "root canal")))
    golden = np.load(FIXTURES / "cvat_datumaro.npz")
    np.testing.assert_array_equal(masks[..., 0], golden["molar"])
    np.testing.assert_array_equal(masks[..., 1], golden["root_canal"])


def test_boxes_and_turned_boxes(tmp_path):
    truth = np.zeros(SIZE, bool)
    truth[4:9, 10:22] = True
    box = {"xtl": 10, "ytl": 4, "xbr": 22, "ybr": 9}
    np.testing.assert_array_equal(read_one(tmp_path, shape("box", **box)), truth)
    turned = read_one(tmp_path, shape("box", **box, rotation=30))
    corners = cv2.boxPoints(((16, 6.5), (12, 5), 30))  # OpenCV turns clockwise, as CVAT does
    truth = polygon_mask(corners.ravel())
    assert (turned != truth).sum() <= 2 < truth.sum()


def test_ellipses_cover_the_pixels_whose_centres_they_hold(tmp_path):
    values = {"cx": 20, "cy": 14.5, "rx": 12, "ry": 5}
    mask = read_one(tmp_path, shape("ellipse", **values, rotation=0))
    y, x = np.mgrid[:30, :40] + 0.5
    np.testing.assert_array_equal(mask, ((x - 20) / 12) ** 2 + ((y - 14.5) / 5) ** 2 <= 1)
    mask = read_one(tmp_path, shape("ellipse", **values, rotation=25))
    ring = cv2.ellipse2Poly((2000, 1450), (1200, 500), 25, 0, 360, 1) / 100
    assert (mask != polygon_mask(ring.ravel())).sum() <= 4 and mask.sum() > 150


def test_masks_of_run_lengths_run_along_the_rows_of_their_box(tmp_path):
    truth = np.zeros(SIZE, bool)
    truth[27:30, 35:39] = [[0, 1, 1, 0], [1, 1, 1, 1], [1, 0, 1, 1]]
    runs = shape("mask", rle="1, 2, 1, 5, 1, 2", left=35, top=27, width=4, height=3)
    np.testing.assert_array_equal(read_one(tmp_path, runs), truth)


def test_the_order_is_z_order_then_that_of_the_file(tmp_path):
    box = {"xtl": 5, "ytl": 5, "xbr": 15, "ybr": 15}
    over = {"xtl": 10, "ytl": 5, "xbr": 20, "ybr": 15}
    save(tmp_path / "a.png", picture(0))
    for first, second, overlap in ((0, 0, 1), (1, 0, 0)):
        text = shape("box", **box, z_order=first)
        text += shape("box", "Root_Canal", **over, z_order=second)
        write(tmp_path / "annotations.xml", {"a.png": text})
        masks = read(tmp_path)
        assert masks.sum(axis=(0, 1)).tolist() == [50 + 50 * (1 - overlap), 50 + 50 * overlap]


def test_classes_splits_names_and_images_without_shapes(tmp_path):
    line = shape("polyline", points="1,2;3,4") + "<tag label='molar' source='manual'></tag>"
    for number, name in enumerate(("Zähne/1.png", "b.png")):
        save(tmp_path / "images" / name, picture(number))
    images = {("Zähne/1.png", "Train"): line, ("b.png", "Validation"): ""}
    write(tmp_path / "annotations.xml", images)
    assert find_classes(tmp_path).names == ("Root_Canal", "molar")
    listing = find_samples(teeth, tmp_path)
    assert [(x.name, x.split) for x in listing.samples] == [("Zähne/1", "train"), ("b", "val")]
    assert not any(x.read()[1].any() for x in listing.samples)
    assert ": 2." in listing.warnings[0] and "annotations.xml" in listing.warnings[0]
    (tmp_path / "images" / "b.png").unlink()
    (error,) = find_samples(teeth, tmp_path).errors
    assert "annotations.xml" in error and "b.png" in error


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("</image><track id='0' label='molar'></track><image>", "video"),
        (shape("mask", rle="1, 2", left=1, top=1, width=4, height=3), "run lengths"),
        (shape("mask", rle="12", left=38, top=1, width=4, height=3), "outside"),
        (shape("polygon", points="1,2;3"), "CVAT"),
        (shape("ellipse", cx=1, cy=1, rx=0, ry=1), "no area"),
        (shape("box", xtl=1, ytl=1, xbr="1e300", ybr=1), "outline"),
        ("<box", "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, text, word):
    save(tmp_path / "a.png", picture(0))
    write(tmp_path / "annotations.xml", {"a.png": text})
    with pytest.raises(InputError, match=rf"annotations\.xml.*{word}"):
        find_samples(teeth, tmp_path)
