"""LabelMe JSON, against what LabelMe 7.9.1 draws."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from data.files import SIZE, picture, save
from PIL import Image

from transfuse_keras.data.classes import find_classes
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task

organs = Task("organs", ("liver", "spleen"), exclusive=True)
BLOB = np.array([[0, 1, 1, 0], [1, 1, 1, 1], [1, 0, 1, 1]], "uint8")


def as_text(array, form="PNG"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, form)
    return base64.b64encode(file.getvalue()).decode()


SHAPES = [
    ("liver", "polygon", [[2.3, 1.2], [12.8, 3.1], [9.5, 10.4], [4.2, 8.9]]),
    ("spleen", "rectangle", [[14, 9], [8.2, 5]]),  # on the one before
    ("liver", "circle", [[22, 6], [26, 6]]),
    ("spleen", "line", [[30, 12], [36, 14]]),
    ("liver", "linestrip", [[4, 20], [8, 27], [14, 22]]),
    ("spleen", "point", [[20, 17]]),
    ("_background_", "polygon", [[20, 4], [24, 4], [24, 8], [20, 8]]),  # a hole
    ("liver", "oriented_rectangle", [[28, 20], [34, 18], [36, 24], [30, 26]]),
    ("spleen", "mask", [[37, 26], [40, 28]]),  # crosses the border
    ("liver", "polygon", [[-4, 13], [3, 12], [2, 17], [-3, 18]]),  # so does this
]
# labelme.utils.shapes_to_label of SHAPES on 40 x 30 pixels: liver is a, spleen is b
DRAWN = """
........................................
..a.....................................
..aaaaaa.............aaa................
...aaaaaaaaaa......aaaaaaa..............
...aaaaaaaaaa......a.....a..............
...aaaaabbbbbbb...aa.....aa.............
...aaaaabbbbbbb...aa.....aa.............
....aaaabbbbbbb...aa.....aa.............
....aaaabbbbbbb....a.....a......b.......
.......abbbbbbb....aaaaaaa......bbbb....
.........a...........aaa.......bbbbbbbb.
...............................bbbbbbbb.
...a..............bbbbb........bbbbbbb..
aaaa.............bbbbbbb......bbbbbbbb..
aaaa............bbbbbbbbb.....bbbbbbbb..
aaa............bbbbbbbbbbb....bbbbbbb...
aaa............bbbbbbbbbbb...bbbbbbbb...
aaa............bbbbbbbbbbb...bbbbbbbb...
........a......bbbbbbbbbbb......bbab....
......aaaa.a...bbbbbbbbbbb.....aaaab....
.....aaaaaaaa...bbbbbbbbb...aaaaaaaa....
...aaaaaaaaaaa...bbbbbbb....aaaaaaaa....
.aaaaaaaaaaaaaa...bbbbb......aaaaaaa....
..aaaaaaaaaaaaa..............aaaaaaaa...
..aaaaaaaaaaaaaa.............aaaaaaaa...
...aaaaaaaaaaaaaa.............aaaa......
...aaaaaaaaaaaaaaa............a.......bb
....aaaaaaaaaaaaa....................bbb
....aaaaaaaaaaaa.....................b.b
.....aaaaaaaaa..........................
"""


def write(path, shapes, image=None, data=None, size=SIZE):
    """A file of LabelMe; shapes are (label, kind, points)."""
    content = {
        "version": "5.8.1",
        "imagePath": image or f"{path.stem}.png",
        "imageData": data,
        "imageHeight": size[0],
        "imageWidth": size[1],
        "shapes": [
            {"label": label, "shape_type": kind, "points": points, "mask": as_text(BLOB)}
            for label, kind, points in shapes
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_masks_are_those_that_labelme_draws(tmp_path):
    save(tmp_path / "ß 1.png", picture(0))
    write(tmp_path / "ß 1.json", SHAPES)
    (sample,) = find_samples(organs, tmp_path).samples
    image, masks = sample.read()
    drawn = np.array([list(line) for line in DRAWN.split()])
    np.testing.assert_array_equal(image, picture(0))
    np.testing.assert_array_equal(masks, drawn[..., None] == ["a", "b"])
    assert find_classes(tmp_path).names == ("liver", "spleen")
    both = find_samples(replace(organs, exclusive=False), tmp_path).samples[0].read()[1]
    assert both.all(axis=-1).sum() == sample.overlap() > 10  # where one lies on the other


def test_the_image_is_that_of_the_path_or_the_embedded_one(tmp_path):
    folder = tmp_path / "data"
    save(tmp_path / "data" / "images" / "a.png", picture(1))
    write(folder / "json" / "a.json", [], r"..\images\a.png", as_text(picture(2)))
    write(folder / "json" / "b.json", SHAPES[:1], "b.png", as_text(picture(3)))
    listing = find_samples(organs, folder)
    assert not listing.errors
    first, second = (x.read() for x in sorted(listing.samples, key=lambda x: x.files[0].stem))
    np.testing.assert_array_equal(first[0], picture(1))
    assert not first[1].any()  # nothing is drawn in it
    np.testing.assert_array_equal(second[0], picture(3))
    write(folder / "json" / "c.json", SHAPES[:1])
    (error,) = find_samples(organs, folder).errors
    assert "c.json" in error and "c.png" in error and "missing" in error


def test_images_that_nobody_drew_on_are_named(tmp_path):
    for number, name in enumerate("abc"):
        save(tmp_path / f"{name}.png", picture(number))
    write(tmp_path / "a.json", SHAPES[:2])
    (tmp_path / "b.json").write_text('{"shapes": [')
    listing = find_samples(organs, tmp_path)
    assert [x.name for x in listing.samples] == ["a"]
    assert "b.json" in listing.errors[0] and "b.png" in listing.warnings[0]


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        (("liver", "circle", [[1, 2], [3, 4], [5, 6]]), "circle"),
        (("liver", "cube", [[1, 2]]), "cube"),
        (("liver", "polygon", [[1, 2, 3], [4, 5, 6], [7, 8, 9]]), "LabelMe"),
        (("liver", "polygon", [["a", "b"]]), "LabelMe"),
    ],
)
def test_other_shapes_are_refused(tmp_path, shape, word):
    write(tmp_path / "a.json", [shape])
    with pytest.raises(InputError, match=rf"a\.json.*{word}"):
        find_samples(organs, tmp_path)


def test_a_damaged_embedded_image_and_another_size_are_refused(tmp_path):
    write(tmp_path / "a.json", [], data=base64.b64encode(b"no image").decode())
    write(tmp_path / "b.json", [], data=as_text(picture(1)), size=(31, 40))
    first, second = find_samples(organs, tmp_path).samples
    with pytest.raises(InputError, match=r"a\.json.*not a readable image"):
        first.read()
    with pytest.raises(InputError, match=r"b\.json.*40x31"):
        second.read()


def test_what_is_to_be_ignored_needs_a_task_that_ignores(tmp_path):
    square = [[5, 5], [9, 9]]
    save(tmp_path / "a.png", picture(0))
    write(tmp_path / "a.json", [*SHAPES[:2], ("__ignore__", "rectangle", square)])
    assert "ignore=255" in find_samples(organs, tmp_path).errors[0]
    (sample,) = find_samples(replace(organs, ignore=255), tmp_path).samples
    masks = sample.read()[1]
    assert (masks[5:10, 5:10] == 255).all() and (masks == 255).sum() == 50
