"""What `convert` writes is read back as the same."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from data.files import (
    binary_folder,
    decathlon_folder,
    disc,
    picture,
    rows_of_labels,
    save,
)
from data.test_coco import CATEGORIES, OBJECTS, SQUARE
from data.test_coco import write as write_coco
from data.test_labelme import SHAPES, as_text
from data.test_labelme import write as write_labelme
from PIL import Image

from transfuse_keras.cli import main
from transfuse_keras.data.classes import find_classes
from transfuse_keras.data.convert import convert
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task

cells = Task("cells", ("nucleus", "cell body"))


def pixels(listing):
    """Name -> (image, masks, group, split, spacing, attributes)."""
    return {x.name: (*x.read(), x.group, x.split, x.spacing, x.attributes) for x in listing.samples}


def check_same(first, second):
    assert first.keys() == second.keys() and first
    for name, (image, masks, *facts) in first.items():
        np.testing.assert_array_equal(second[name][0], image, name)
        np.testing.assert_array_equal(second[name][1], masks, name)
        assert list(second[name][2:]) == facts


@pytest.mark.parametrize("exclusive", [False, True])
def test_coco_with_splits_patients_and_spacing(tmp_path, exclusive):
    lines = ["stem,group,device"]
    for start, part in enumerate(("train", "valid", "test")):
        names = [f"ä{start}.png", f"b{start}.png"]
        path = tmp_path / "data" / part / "_annotations.coco.json"
        write_coco(path, OBJECTS, names, start=3 * start)
        lines += [f"{name.removesuffix('.png')},p{start},A" for name in names]
    (tmp_path / "data" / "groups.csv").write_text("\n".join(lines))
    (tmp_path / "data" / "spacing.csv").write_text("stem,mm\nä0,0.5\nb2,0.25\n")
    task = replace(cells, exclusive=exclusive)
    before = find_samples(task, tmp_path / "data")
    assert {x.group for x in before.samples} == {"p0", "p1", "p2"}
    convert(tmp_path / "data", tmp_path / "out", task)
    after = pixels(find_samples(task, tmp_path / "out"))
    named = {name.replace("val/", "valid/"): x for name, x in after.items()}
    check_same(pixels(before), named)


def test_one_class_and_what_is_ignored(tmp_path):
    for number in range(2):
        save(tmp_path / "data" / "images" / f"{number}.png", picture(number))
        labels = rows_of_labels(1)
        labels[20:22] = 255
        save(tmp_path / "data" / "masks" / f"{number}.png", labels)
    task = Task("t", ("lesion",), ignore=255)
    convert(tmp_path / "data", tmp_path / "out", task)
    masks = find_samples(task, tmp_path / "out").samples[0].read()[1]
    assert (masks == 1).sum() == 160 and (masks == 255).sum() == 80
    binary_folder(tmp_path / "plain", "ab")
    convert(tmp_path / "plain", tmp_path / "two", replace(task, ignore=None))
    stored = cv2.imread(str(tmp_path / "two" / "masks" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert stored.ndim == 2 and set(np.unique(stored)) == {0, 255}


def test_embedded_images_become_files_and_label_maps_are_coloured(tmp_path):
    write_labelme(tmp_path / "data" / "1.json", SHAPES, data=as_text(picture(4)))
    task = Task("t", ("liver", "spleen"), exclusive=True)
    convert(tmp_path / "data", tmp_path / "out", task)
    truth = pixels(find_samples(task, tmp_path / "data"))
    check_same(truth, pixels(find_samples(task, tmp_path / "out")))
    with Image.open(tmp_path / "out" / "masks" / "1.png") as stored:
        assert stored.mode == "P" and stored.convert("RGB").getpixel((10, 5)) == (0, 128, 0)
    assert (tmp_path / "out" / "classes.txt").read_text() == "liver\nspleen\n"


def test_the_command_takes_the_classes_that_the_data_names(tmp_path, capsys):
    write_coco(tmp_path / "data" / "x.json", OBJECTS[:2], ["a.png"])
    given = ["convert", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert main(given) == 0
    assert "1 image" in capsys.readouterr().out
    folders = [x.name for x in (tmp_path / "out" / "masks").iterdir()]
    assert sorted(folders) == ["cell_body", "nucleus"]
    truth = pixels(find_samples(cells, tmp_path / "data"))
    check_same(truth, pixels(find_samples(cells, tmp_path / "out")))
    assert main(given) == 2  # it is there now
    assert str(tmp_path / "out") in capsys.readouterr().err


def test_nothing_is_written_if_something_cannot_be(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    write_coco(data / "x.json", [(0, 3, [SQUARE])], ["a.png", "b.png"], CATEGORIES[1:])
    (data / "b.png").write_bytes((data / "b.png").read_bytes()[:100])
    for at, task, word in (
        (out, None, "b.png"),
        (data / "out", None, "outside"),
        (out, Task("t", ("a b", "a_b")), "alike"),
        (out, Task("t", ("a", "b")), "x.json"),
    ):
        with pytest.raises(InputError, match=word):
            convert(data, at, task)
    (tmp_path / "plain").mkdir()
    with pytest.raises(InputError, match=r"plain.*layout"):
        convert(tmp_path / "plain", out)
    decathlon_folder(tmp_path / "volumes")
    with pytest.raises(InputError, match="volumes"):
        convert(tmp_path / "volumes", out)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["data", "plain", "volumes"]


def test_without_a_task_the_classes_are_those_of_a_plan(tmp_path):
    for number in range(2):
        stem = f"{number}.png"
        save(tmp_path / "labels" / "images" / stem, picture(number))
        save(tmp_path / "labels" / "masks" / stem, np.maximum(rows_of_labels(2), disc(255, 2)))
        save(tmp_path / "folders" / "images" / stem, picture(number))
        save(tmp_path / "folders" / "masks" / "liver" / stem, disc())
        save(tmp_path / "folders" / "masks" / "tumour" / stem, disc(radius=3))
    (tmp_path / "labels" / "classes.txt").write_text("spleen\nliver\n")
    for name in ("labels", "folders"):
        convert(tmp_path / name, tmp_path / f"new-{name}")
        assert find_classes(tmp_path / f"new-{name}").names == find_classes(tmp_path / name).names
    written = Image.open(tmp_path / "new-labels" / "masks" / "0.png")
    np.testing.assert_array_equal(written, Image.open(tmp_path / "labels" / "masks" / "0.png"))
    folders = [x.name for x in (tmp_path / "new-folders" / "masks").iterdir()]
    assert sorted(folders) == ["liver", "tumour"]
