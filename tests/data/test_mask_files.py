"""Which file is the mask: folders and names as people have them."""

import unicodedata

import cv2
import numpy as np
import pytest
from data.files import SIZE, disc, picture, save
from PIL import Image

from transfuse_keras.data.layouts import find_samples
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task

lesion = Task("t", ("lesion",))
FULL = np.full(SIZE, 255, "uint8")


def radius(number):
    return 5 + number


def write(folder, image, mask, count=4, mask_array=None):
    """Images and masks named by two patterns of a number; mask i is a disc of radius 5 + i."""
    for i in range(count):
        if image:
            save(folder / image.format(i), picture(i))
        save(folder / mask.format(i), disc(radius=radius(i)) if mask_array is None else mask_array)


def check_discs(listing, count=4):
    """Every sample has the disc of the number in its name."""
    assert not listing.errors and len(listing.samples) == count
    for number, sample in enumerate(sorted(listing.samples, key=lambda x: x.files[0])):
        _, masks = sample.read()
        np.testing.assert_array_equal(masks[..., 0], disc(1, radius(number)), sample.name)


# folders ---------------------------------------------------------------------------------------


def test_masks_is_taken_before_other_names_and_the_choice_is_said(tmp_path):
    write(tmp_path, "images/{}.png", "masks/{}.png")
    write(tmp_path, "", "gt/{}.png", mask_array=FULL)
    listing = find_samples(lesion, tmp_path)
    check_discs(listing)
    assert any("masks/" in note and "--masks gt" in note for note in listing.notes)
    other = find_samples(lesion, tmp_path, masks="gt")
    assert other.samples[0].read()[1].all()
    assert any("gt: " in line and "no object" in line for line in other.warnings)
    with pytest.raises(InputError, match="no folder lesions"):
        find_samples(lesion, tmp_path, masks="lesions")


def test_several_folders_without_the_plain_name_are_refused_by_name(tmp_path):
    write(tmp_path, "images/{}.png", "gt/{}.png")
    write(tmp_path, "", "labels/{}.png", mask_array=FULL)
    with pytest.raises(InputError, match="gt, labels .*--masks"):
        find_samples(lesion, tmp_path)
    check_discs(find_samples(lesion, tmp_path, masks="gt"))


def test_a_folder_of_any_name_by_option(tmp_path):
    write(tmp_path, "images/{}.png", "drawn by Anna/{}.png")
    check_discs(find_samples(lesion, tmp_path, masks="drawn by Anna"))


def test_text_files_do_not_hide_masks(tmp_path):
    write(tmp_path, "images/{}.png", "masks/{}.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.txt").write_text("0 .5 .5 .1 .1")
    check_discs(find_samples(lesion, tmp_path))


def test_the_first_reader_is_the_truth_not_the_field_of_view(tmp_path):
    view = disc(255, 17)
    for part in ("training", "test"):
        write(tmp_path / part, f"images/2{{}}_{part}.tif", "1st_manual/2{}_manual1.png")
        write(tmp_path / part, "", f"mask/2{{}}_{part}_mask.png", mask_array=view)
        write(tmp_path / part, "", "2nd_manual/2{}_manual2.png", mask_array=FULL)
    listing = find_samples(lesion, tmp_path)
    assert {x.split for x in listing.samples} == {"train", "test"} and not listing.warnings
    for part in ("training", "test"):
        check_discs(find_samples(lesion, tmp_path / part))


def test_test_images_of_drive_without_their_truth_are_refused(tmp_path):
    """As it is downloaded: the truth of the test images is kept back."""
    view = disc(255, 17)
    write(tmp_path / "training", "images/2{}_training.tif", "1st_manual/2{}_manual1.png")
    write(tmp_path / "training", "", "mask/2{}_training_mask.png", mask_array=view)
    write(tmp_path / "test", "images/1{}_test.tif", "mask/1{}_test_mask.png", mask_array=view)
    with pytest.raises(InputError, match="test: .* 1st_manual/.*field of view"):
        find_samples(lesion, tmp_path)
    check_discs(find_samples(lesion, tmp_path / "training"))


@pytest.mark.parametrize("view", [FULL, np.ones(SIZE, "uint8"), disc(255, 17)])
def test_masks_that_show_no_object_are_never_taken_in_silence(tmp_path, view):
    write(tmp_path, "images/{}.png", "masks/{}.png", mask_array=view)
    assert "show no object" in " ".join(find_samples(lesion, tmp_path).warnings)
    write(tmp_path, "", "gt/{}.png")
    with pytest.raises(InputError, match="masks: .*--masks masks or --masks gt"):
        find_samples(lesion, tmp_path)
    check_discs(find_samples(lesion, tmp_path, masks="gt"))


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("img_dir", "ann_dir")])
def test_splits_inside_images_and_masks(tmp_path, images, masks):
    for part in ("train", "val", "test"):
        write(tmp_path, f"{images}/{part}/{part}{{}}.png", f"{masks}/{part}/{part}{{}}.png")
    listing = find_samples(lesion, tmp_path)
    assert len(listing.samples) == 12 and not listing.errors
    assert {(x.split, x.name.split("/")[-1][:-1]) for x in listing.samples} == {
        *(("train", "train"), ("val", "val"), ("test", "test"))
    }


def test_a_folder_of_images_without_its_masks_is_named(tmp_path):
    for part in ("train", "val"):
        write(tmp_path, f"images/{part}/{{}}.png", f"masks/{part}/{{}}.png")
    (tmp_path / "masks" / "val").rename(tmp_path / "masks" / "other")
    with pytest.raises(InputError, match="images/val: has no folder"):
        find_samples(lesion, tmp_path)


def test_a_folder_of_masks_for_each_class(tmp_path):
    task = Task("t", ("optic_disc", "cup"))
    write(tmp_path, "images/{}.jpg", "masks/Optic Disc/{}.png")
    write(tmp_path, "", "masks/cup/{}.png", mask_array=disc(255, 3))
    listing = find_samples(task, tmp_path)
    assert not listing.errors and len(listing.samples) == 4
    _, masks = listing.samples[2].read()
    np.testing.assert_array_equal(masks[..., 0], disc(1, 7))
    np.testing.assert_array_equal(masks[..., 1], disc(1, 3))
    (tmp_path / "masks/cup/1.png").unlink()
    (error,) = find_samples(task, tmp_path).errors
    assert "1.jpg: has no mask" in error and "cup/1.png" in error and "Disc" not in error
    single = tmp_path / "single"
    write(single, "images/{}.png", "masks/lesion/{}.png")
    check_discs(find_samples(lesion, single))


# names -----------------------------------------------------------------------------------------

ENDINGS = (
    *("_gt", "_label", "_seg", "-mask", "_Mask", "_manual1", "_lesion", ".mask", "_labels"),
    *("_Segmentation", "_mask"),
)


@pytest.mark.parametrize("ending", ENDINGS)
def test_endings_of_masks(tmp_path, ending):
    write(tmp_path / "apart", "images/x{}.png", f"masks/x{{}}{ending}.png")
    check_discs(find_samples(lesion, tmp_path / "apart"))
    write(tmp_path / "together", "x{}.png", f"x{{}}{ending}.png")
    check_discs(find_samples(lesion, tmp_path / "together"))


def test_images_and_masks_by_number(tmp_path):
    write(tmp_path / "apart", "images/image_{}.png", "masks/mask_{}.png")
    check_discs(find_samples(lesion, tmp_path / "apart"))
    write(tmp_path / "together", "img{}.png", "mask{}.png")
    check_discs(find_samples(lesion, tmp_path / "together"))


def test_parts_of_a_mask_are_united(tmp_path):
    centres = ((15, 8), (15, 20), (15, 32))
    for kind in ("benign", "normal"):  # as BUSI names them
        folder = tmp_path / kind
        for i in (1, 2):
            save(folder / f"{kind} ({i}).png", picture(i))
        for i, centre in enumerate(centres):
            ending = f"_{i}" if i else ""
            save(folder / f"{kind} (2)_mask{ending}.png", disc(radius=4, center=centre))
        save(folder / f"{kind} (1)_mask.png", disc())
    listing = find_samples(lesion, tmp_path)
    assert not listing.errors and len(listing.samples) == 4
    sample = next(x for x in listing.samples if x.name == "benign/benign (2)")
    wanted = np.maximum.reduce([disc(1, 4, centre) for centre in centres])
    np.testing.assert_array_equal(sample.read()[1][..., 0], wanted)
    assert len(sample.files) == 4
    two = Task("t", ("a", "b"))
    assert "has several masks" in find_samples(two, tmp_path).errors[0]


def test_two_masks_of_an_image_are_not_chosen_between(tmp_path):
    write(tmp_path, "images/x{}.png", "masks/x{}_mask.png")
    save(tmp_path / "masks" / "x2_seg.png", FULL)
    (error,) = find_samples(lesion, tmp_path).errors
    assert "x2.png: has several masks" in error and "x2_seg.png" in error


def test_an_unmatched_file_lists_what_is_understood(tmp_path):
    write(tmp_path, "images/x{}.png", "masks/x{}.png")
    (tmp_path / "masks" / "x1.png").rename(tmp_path / "masks" / "x1_drawn.png")
    errors = find_samples(lesion, tmp_path).errors
    assert len(errors) == 2 and "x1.png: has no mask" in errors[0] and "x1_drawn.png" in errors[1]
    for line in errors:
        assert all(ending.lower() in line.lower() for ending in ENDINGS if ending[0] == "_")


def test_composed_and_decomposed_names_are_the_same(tmp_path):
    for i in range(4):
        forms = [unicodedata.normalize(form, f"Müller é{i}") for form in ("NFC", "NFD")]
        assert forms[0] != forms[1]
        save(tmp_path / "images" / f"{forms[0]}.png", picture(i))
        save(tmp_path / "masks" / f"{forms[1]}.png", disc(radius=radius(i)))
    check_discs(find_samples(lesion, tmp_path))
    folders = tmp_path / "folders"
    for i in range(4):
        save(folders / "images" / unicodedata.normalize("NFC", "Zoë") / f"{i}.png", picture(i))
        inside = folders / "masks" / unicodedata.normalize("NFD", "Zoë")
        save(inside / f"{i}.png", disc(radius=radius(i)))
    check_discs(find_samples(lesion, folders))
    decomposed = unicodedata.normalize("NFD", "stem,group\nMüller é1,anna\nMüller é2,anna\n")
    (tmp_path / "groups.csv").write_text(decomposed)
    assert [x.group for x in find_samples(lesion, tmp_path).samples][1:3] == ["anna", "anna"]


# kinds of files --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["gif", "webp", "jp2", "bmp", "GIF"])
def test_kinds_of_files_that_pillow_reads(tmp_path, suffix):
    for i in range(4):
        save(tmp_path / "images" / f"{i}.png", picture(i))
        path = tmp_path / "masks" / f"{i}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        lossless = {"lossless": True} if suffix == "webp" else {}
        Image.fromarray(disc(radius=radius(i))).save(path, **lossless)
    check_discs(find_samples(lesion, tmp_path))


def test_what_is_not_read_is_named(tmp_path):
    write(tmp_path, "images/{}.png", "masks/{}.png")
    (tmp_path / "images" / "5.heic").write_bytes(b"x")
    (tmp_path / "images" / "notes.txt").write_text("about")
    (warning,) = find_samples(lesion, tmp_path).warnings
    assert "not read: 1" in warning and "5.heic" in warning and ".webp" in warning


def test_an_image_of_a_new_kind_is_what_pillow_shows(tmp_path):
    write(tmp_path, "images/{}.png", "masks/{}.png")
    for i in range(4):
        path = tmp_path / "images" / f"{i}.png"
        Image.open(path).save(path.with_suffix(".jp2"))
        path.unlink()
    image, _ = find_samples(lesion, tmp_path).samples[1].read()
    shown = cv2.cvtColor(cv2.imread(str(tmp_path / "images/1.jp2")), cv2.COLOR_BGR2RGB)
    assert np.abs(image.astype(int) - shown).max() <= 1
