"""What lies in a data set and is not read is named; nothing is left out in silence."""

import numpy as np
import pytest
from data.files import binary_folder
from PIL import Image

from transfuse_keras.data.check import check
from transfuse_keras.data.classes import find_classes, make_task
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.readings import gather
from transfuse_keras.data.splits import complete_splits
from transfuse_keras.data.survey import survey
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task

STEMS = [f"{letter}{k}" for k in range(4) for letter in "xy"]
ONE, TWO = Task("t", ("lesion",)), Task("t", ("liver", "spleen"), exclusive=True)


def names(samples):
    return {sample.name for sample in samples}


def write_mask(path, value=255, shape=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(shape, "uint8")
    mask[2:4, 2:4] = value
    Image.fromarray(mask).save(path)


# splits ----------------------------------------------------------------------------------------


def test_images_in_no_split_are_trained_on_where_only_a_test_set_is_named(tmp_path):
    binary_folder(tmp_path / "hospital", STEMS)
    binary_folder(tmp_path / "test", ["z1", "z2"])
    splits = complete_splits(find_samples(ONE, tmp_path))
    assert names(splits["test"]) == {"test/z1", "test/z2"}
    assert len(splits["train"]) + len(splits["val"]) == len(STEMS)
    assert splits.notes[0].startswith("What the data puts into no split is for training: 8 images")
    assert survey(tmp_path).counts[2] == 2


def test_images_outside_a_list_of_test_images_are_trained_on(tmp_path):
    binary_folder(tmp_path, STEMS)
    (tmp_path / "test.txt").write_text("x0\ny0.png\n", encoding="utf-8")
    splits = complete_splits(find_samples(ONE, tmp_path))
    assert names(splits["test"]) == {"x0", "y0"}
    assert names(splits["train"]) | names(splits["val"]) == set(STEMS) - {"x0", "y0"}


def test_images_in_no_split_are_named_where_others_are_in_one(tmp_path):
    binary_folder(tmp_path / "train", STEMS)
    binary_folder(tmp_path / "test", ["z1", "z2"])
    binary_folder(tmp_path / "more", ["q1", "q2", "q3"])
    splits = complete_splits(find_samples(ONE, tmp_path))
    assert "Not used, as it is in no split: 3 images, such as more/q1." in splits.warnings
    assert not any(name.startswith("more") for part in splits.values() for name in names(part))


def test_a_data_set_without_training_images_is_refused(tmp_path):
    binary_folder(tmp_path / "test", STEMS)
    with pytest.raises(InputError, match="has no images to train on"):
        survey(tmp_path)
    assert any("has no images to train on" in error for error in check(ONE, tmp_path).errors)


@pytest.mark.parametrize("folder", ["trainset", "TrainData", "training"])
def test_folders_of_splits_in_one_word(tmp_path, folder):
    binary_folder(tmp_path / folder, STEMS)
    binary_folder(tmp_path / "testset", ["z1", "z2"])
    splits = complete_splits(find_samples(ONE, tmp_path))
    assert names(splits["test"]) == {"testset/z1", "testset/z2"}


def test_a_csv_of_splits(tmp_path):
    binary_folder(tmp_path, STEMS)
    parts = ["train"] * 4 + ["val"] * 2 + ["testing"] * 2
    rows = [f"images/{stem}.png,{part}" for stem, part in zip(STEMS, parts, strict=True)]
    (tmp_path / "split.csv").write_text("\n".join(["stem,split", *rows]), encoding="utf-8")
    splits = complete_splits(find_samples(ONE, tmp_path))
    assert names(splits["val"]) == set(STEMS[4:6]) and names(splits["test"]) == set(STEMS[6:])
    (tmp_path / "split.csv").write_text(f"stem,split\n{STEMS[0]},fold1", encoding="utf-8")
    with pytest.raises(InputError, match="is fold1; write train, val or test"):
        find_samples(ONE, tmp_path)


def test_copies_among_training_images_stay_together_beside_a_test_set(tmp_path):
    binary_folder(tmp_path / "train", STEMS)
    binary_folder(tmp_path / "test", ["z1", "z2"])
    copied = (tmp_path / "train/images/x0.png").read_bytes()
    for stem in ("y1", "x3"):
        (tmp_path / f"train/images/{stem}.png").write_bytes(copied)
    groups = {x.name: x.group for x in find_samples(ONE, tmp_path).samples}
    assert groups["train/y1"] == groups["train/x3"] == groups["train/x0"]
    assert len(set(groups.values())) == len(groups) - 2


# tables above the images -----------------------------------------------------------------------


def test_tables_in_the_given_folder_count_for_all_folders_below(tmp_path):
    for k in range(3):
        for part, folder in (("images", "images"), ("masks", "masks")):
            binary_folder(tmp_path / f"tmp{k}", [f"p{k}_0", f"p{k}_1"])
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / f"tmp{k}" / part).rename(tmp_path / folder / f"pat{k}")
    for path in tmp_path.glob("tmp*/*"):
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    for k, part in enumerate(("train", "val", "test")):
        text = f"p{k}_0\nimages/pat{k}/p{k}_1.png\n"
        (tmp_path / f"{part}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "spacing.csv").write_text("stem,mm\np1_0,0.5\np9_9,1\n", encoding="utf-8")
    listing = find_samples(ONE, tmp_path)
    assert {x.name: x.split for x in listing.samples}["pat2/p2_1"] == "test"
    assert {x.split for x in listing.samples} == {"train", "val", "test"}
    assert {x.name: x.spacing for x in listing.samples}["pat1/p1_0"] == (0.5, 0.5)
    assert any("rows without an image: 1, such as p9_9" in x for x in listing.warnings)


def test_a_path_in_a_table_tells_images_of_one_name_apart(tmp_path):
    for k, site in enumerate(("siteA", "siteB")):
        binary_folder(tmp_path / site, STEMS, start=20 * k)
    rows = [f"{site}/images/{x}.png,{site}-{x[1]}" for site in ("siteA", "siteB") for x in STEMS]
    text = "\n".join(["stem,group", *rows, "siteC/q,p"])
    (tmp_path / "groups.csv").write_text(text, encoding="utf-8")
    listing = find_samples(ONE, tmp_path)
    assert {x.name: x.group for x in listing.samples}["siteB/x3"] == "siteB-3"
    assert listing.patients and any("such as siteC/q" in x for x in listing.warnings)


def test_a_text_that_names_no_image_is_no_list(tmp_path):
    binary_folder(tmp_path, STEMS)
    (tmp_path / "train_log.txt").write_text("epoch 1\nepoch 2\n", encoding="utf-8")
    listing = find_samples(ONE, tmp_path)
    assert not listing.errors and len(listing.samples) == len(STEMS)
    assert any("train_log.txt: names none of the images" in x for x in listing.warnings)


# folders and files -----------------------------------------------------------------------------


def test_masks_beside_a_folder_of_old_ones_are_those_that_are_read(tmp_path):
    binary_folder(tmp_path, STEMS)
    for stem in STEMS:
        write_mask(tmp_path / f"masks/old/{stem}.png")
    task = make_task(tmp_path)
    listing = find_samples(task, tmp_path)
    assert task.classes == ("foreground",)
    assert all(x.files[1].parent == tmp_path / "masks" for x in listing.samples)
    old = tmp_path / "masks" / "old"
    assert f"{old}: is not read; the files beside it are." in listing.warnings


def test_pairs_beside_images_and_masks_are_named(tmp_path):
    binary_folder(tmp_path, STEMS)
    binary_folder(tmp_path / "test", ["z1"])
    (warning,) = (x for x in find_samples(ONE, tmp_path).warnings if "are read, and not" in x)
    assert "images/ and masks/ are read, and not test/" in warning


def test_one_mask_of_two_images_is_refused(tmp_path):
    binary_folder(tmp_path, ["1", "2", "3"])
    picture = (tmp_path / "images/2.png").read_bytes()
    (tmp_path / "images/img_1.png").write_bytes(picture)
    (error,) = find_samples(ONE, tmp_path).errors
    assert "img_1.png: its mask 1.png is that of 1.png, too" in error


def test_masks_of_0_and_1_beside_masks_of_0_and_255_are_one_class(tmp_path):
    binary_folder(tmp_path, STEMS)
    for k, stem in enumerate(STEMS):
        write_mask(tmp_path / f"masks/{stem}.png", 1 if k % 2 else 255)
    found = find_classes(tmp_path)
    assert (found.names, found.ignore) == (("foreground",), None)
    assert found.found == "values 0 and 1 of some masks, 0 and 255 of others"
    both = np.full((8, 8), 255, "uint8")
    both[:4] = 1
    Image.fromarray(both).save(tmp_path / "masks/x0.png")
    assert find_classes(tmp_path).ignore == 255  # one file holds both, so they differ


def test_a_list_of_classes_in_another_order_than_the_task_is_refused(tmp_path):
    binary_folder(tmp_path, STEMS)
    for stem in STEMS:
        write_mask(tmp_path / f"masks/{stem}.png", 2)
    names_file = tmp_path / "classes.txt"
    names_file.write_text("background\nLiver\nspleen\n", encoding="utf-8")
    assert len(find_samples(TWO, tmp_path).samples) == len(STEMS)
    names_file.write_text("spleen\nliver\n", encoding="utf-8")
    with pytest.raises(InputError, match="says that label 2 is liver, but .* it is label 1"):
        find_samples(TWO, tmp_path)


def test_sentences_that_begin_with_no_file_are_not_gathered():
    lines = [f"Every mask of class_{k} is empty, in all 20 images." for k in range(6)]
    files = [f"data/{k}.png: the mask is empty." for k in range(6)]
    assert gather(lines) == lines
    assert gather([*lines, *files])[-1].endswith("In all, 6 files have this fault.")


# lists and folders together --------------------------------------------------------------------


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")


def splits_of(folder):
    listing = find_samples(ONE, folder)
    assert not listing.errors
    return {x.name: x.split for x in listing.samples}


def test_a_list_above_folders_of_splits_means_the_image_in_its_own(tmp_path):
    for k, part in enumerate(("train", "test")):
        binary_folder(tmp_path / part, ["1", "2"], start=10 * k)
        write_lines(tmp_path / f"{part}.txt", ["1", "2"])
    assert splits_of(tmp_path) == {f"{x}/{k}": x for x in ("train", "test") for k in "12"}


def test_the_nearest_list_counts(tmp_path):
    binary_folder(tmp_path / "CVC", ["c1", "c2"])
    binary_folder(tmp_path / "Kvasir", ["k1", "k2"], start=10)
    write_lines(tmp_path / "train.txt", ["c1", "c2"])
    write_lines(tmp_path / "Kvasir" / "train.txt", ["k1"])
    write_lines(tmp_path / "Kvasir" / "val.txt", ["k2"])
    wanted = {"CVC/c1": "train", "CVC/c2": "train", "Kvasir/k1": "train", "Kvasir/k2": "val"}
    assert splits_of(tmp_path) == wanted


def test_of_images_outside_a_list_of_test_images_those_without_a_mask_are_not_used(tmp_path):
    binary_folder(tmp_path, ["1", "2", "3", "4"])
    (tmp_path / "masks/4.png").unlink()
    write_lines(tmp_path / "val.txt", ["1"])
    assert splits_of(tmp_path) == {"1": "val", "2": None, "3": None}


@pytest.mark.parametrize("heading", ["split,group,sample", "id,fold,split", "x0,train"])
def test_a_split_csv_of_another_form_is_not_read_and_named(tmp_path, heading):
    binary_folder(tmp_path, STEMS)
    write_lines(tmp_path / "split.csv", [heading, "x1,test,1"])
    assert set(splits_of(tmp_path).values()) == {None}
    warnings = find_samples(ONE, tmp_path).warnings
    assert any("split.csv: is not read, as its heading" in x for x in warnings)


def test_a_row_with_a_path_says_more_than_one_with_a_name(tmp_path):
    binary_folder(tmp_path / "A", ["1", "2"])
    binary_folder(tmp_path / "B", ["1", "2"], start=10)
    write_lines(tmp_path / "groups.csv", ["stem,group", "A/1,p1", "1,p9"])
    groups = {x.name: x.group for x in find_samples(ONE, tmp_path).samples}
    assert (groups["A/1"], groups["B/1"]) == ("p1", "p9")


def test_tables_are_read_of_a_folder_named_by_a_dot(tmp_path, monkeypatch):
    binary_folder(tmp_path, STEMS)
    write_lines(tmp_path / "spacing.csv", [f"{stem},0.5" for stem in STEMS])
    monkeypatch.chdir(tmp_path)
    assert {x.spacing for x in find_samples(ONE, ".").samples} == {(0.5, 0.5)}


def test_one_mask_beside_folders_of_classes_changes_no_class(tmp_path):
    for name in ("liver", "spleen"):
        binary_folder(tmp_path, STEMS, masks=f"masks/{name}")
    write_mask(tmp_path / "masks" / f"{STEMS[0]}.png")
    task = make_task(tmp_path)
    assert task.classes == ("liver", "spleen")
    warnings = find_samples(task, tmp_path).warnings
    assert any("masks/*: is not read; the folders of the classes are." in x for x in warnings)
