import json
import re
import shutil
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from data.files import (
    binary_folder,
    decathlon_folder,
    disc,
    hip_folder,
    picture,
    rows_of_labels,
    save,
)
from pydicom.data import get_testdata_file

from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.splits import find_splits
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import TASKS, hip, polyp, prostate, skin


def names(samples):
    return [sample.name for sample in samples]


def counts(task, folder):
    return {part: len(samples) for part, samples in find_splits(task, folder).items()}


# one class -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("images", "masks"), [("image", "mask"), ("images", "masks")])
def test_pranet(tmp_path, images, masks):
    binary_folder(tmp_path / "TrainDataset", [f"a{i}" for i in range(16)], images, masks)
    for number, name in enumerate(("Kvasir", "ETIS-LaribPolypDB")):
        folder = tmp_path / "TestDataset" / name
        binary_folder(folder, ["1", "2"], "images", "masks", start=20 + 2 * number)
    splits = find_splits(polyp, tmp_path)
    assert {part: len(samples) for part, samples in splits.items()} == {
        **{"train": 14, "val": 2, "test": 4}
    }
    assert names(splits["test"])[:3:2] == [
        "TestDataset/ETIS-LaribPolypDB/1",
        "TestDataset/Kvasir/1",
    ]
    assert len(find_samples(polyp, tmp_path / "TestDataset" / "Kvasir").samples) == 2
    image, mask = splits["test"][0].read()
    np.testing.assert_array_equal(image, picture(22))
    np.testing.assert_array_equal(mask[..., 0], disc(1, 5 + 22 % 7))


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_clinicdb_as_downloaded(tmp_path, suffix):
    folder = tmp_path / "CVC-ClinicDB"
    binary_folder(folder, range(1, 11), "Original", "Ground Truth", suffix)
    assert sum(counts(polyp, folder).values()) == 10
    (folder / "sequences.csv").write_text(
        "stem,sequence\n" + "".join(f"{i},{(i - 1) // 3}\n" for i in range(1, 11))
    )
    splits = find_splits(polyp, tmp_path)  # one folder up is as good
    for part, samples in splits.items():
        sequences = {(int(sample.name) - 1) // 3 for sample in samples}
        assert sequences == {int(sample.group) for sample in samples}
        others = [s for other in splits if other != part for s in splits[other]]
        assert not sequences & {int(sample.group) for sample in others}


def test_clinicdb_as_both_png_and_tif_is_read_once(tmp_path):
    for kind in ("PNG", "TIF"):
        folder = tmp_path / "CVC-ClinicDB" / kind
        binary_folder(folder, range(1, 11), "Original", "Ground Truth", kind.lower())
    assert sum(counts(polyp, tmp_path).values()) == 10


def test_split_files_are_honoured(tmp_path, capsys):
    binary_folder(tmp_path, [f"a{i}" for i in range(8)])
    (tmp_path / "official_split_train.txt").write_text("a3\na1\na0.png\na5\n")
    (tmp_path / "official_split_val.txt").write_text("images/a2.png\na4\n")
    splits = find_splits(polyp, tmp_path)
    assert names(splits["train"]) == ["a0", "a1", "a3", "a5"]
    assert names(splits["val"]) == names(splits["test"]) == ["a2", "a4"]
    said = "".join(capsys.readouterr())
    assert "optimistic" in said and "not used: 2" in said
    (tmp_path / "test.txt").write_text("a6\na7\n")
    assert names(find_splits(polyp, tmp_path)["test"]) == ["a6", "a7"]
    (tmp_path / "test.txt").write_text("a6\na99\na3\n")
    errors = find_samples(polyp, tmp_path).errors
    assert "test.txt: " in errors[0] and " a99" in errors[0]
    assert "test.txt: a3 " in errors[1] and "train split" in errors[1]


def test_kvasir_and_clinicdb_side_by_side(tmp_path):
    binary_folder(tmp_path / "Kvasir-SEG", ["1", "2", "3", "4", "5"])
    binary_folder(tmp_path / "CVC-ClinicDB", range(1, 6), "Original", "Ground Truth", "tif", 10)
    samples = find_samples(polyp, tmp_path).samples
    assert names(samples)[:2] == ["CVC-ClinicDB/1", "CVC-ClinicDB/2"] and len(samples) == 10
    assert len({sample.group for sample in samples}) == 10


def test_folders_named_train_val_and_test(tmp_path):
    for number, part in enumerate(("train", "Validation", "testing")):
        binary_folder(tmp_path / part, [f"x{i}" for i in range(3 - number)], start=5 * number)
    assert counts(polyp, tmp_path) == {"train": 3, "val": 2, "test": 1}


def test_copies_of_a_file_stay_on_one_side(tmp_path):
    binary_folder(tmp_path, [f"a{i:02}" for i in range(20)])
    for number in (3, 11, 17):
        save(tmp_path / "images" / f"a{number:02}.png", picture(3))
    samples = {sample.name: sample for sample in find_samples(polyp, tmp_path).samples}
    assert len({samples[f"a{number:02}"].group for number in (3, 11, 17)}) == 1
    assert len({sample.group for sample in samples.values()}) == 18


@pytest.mark.parametrize(
    ("year", "folders"),
    [
        (
            2017,
            {
                "ISIC-2017_{}_Data": "ISIC-2017_{}_Part1_GroundTruth",
                "parts": ("Training", "Validation", "Test_v2"),
            },
        ),
        (
            2018,
            {
                "ISIC2018_Task1-2_{}_Input": "ISIC2018_Task1_{}_GroundTruth",
                "parts": ("Training", "Validation", "Test"),
            },
        ),
        (
            2016,
            {
                "ISBI2016_ISIC_Part1_{}_Data": "ISBI2016_ISIC_Part1_{}_GroundTruth",
                "parts": ("Training", "Test"),
            },
        ),
    ],
)
def test_isic_challenges(tmp_path, year, folders):
    parts = folders.pop("parts")
    ((images, masks),) = folders.items()
    ending = "_Segmentation" if year == 2016 else "_segmentation"
    for number, part in enumerate(parts):
        for i in range(8 - 3 * number):
            stem = f"ISIC_{100 * number + i:07}"
            save(tmp_path / images.format(part) / f"{stem}.jpg", picture(10 * number + i))
            save(tmp_path / masks.format(part) / f"{stem}{ending}.png", disc())
            if year == 2017:
                save(tmp_path / images.format(part) / f"{stem}_superpixels.png", picture(99))
    wanted = (
        {"train": 8, "val": 5, "test": 2} if year != 2016 else {"train": 7, "val": 1, "test": 5}
    )
    assert counts(skin, tmp_path) == wanted
    splits = find_splits(skin, tmp_path)
    assert "ISIC_0000000" in names(splits["train"] + splits["val"])
    mask = tmp_path / masks.format(parts[0]) / f"ISIC_0000003{ending}.png"
    mask.unlink()
    with pytest.raises(InputError, match=r"ISIC_0000003.jpg: .* ISIC_0000003_segment"):
        find_splits(skin, tmp_path)


def test_arrays_of_the_authors_script(tmp_path):
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        images = np.stack([picture(i) for i in range(count)])
        np.save(tmp_path / f"data_{part}.npy", images)
        np.save(tmp_path / f"mask_{part}.npy", np.stack([disc()] * count))
    splits = find_splits(skin, tmp_path)
    assert {part: len(samples) for part, samples in splits.items()} == {
        **{"train": 3, "val": 2, "test": 1}
    }
    image, mask = splits["train"][2].read()
    np.testing.assert_array_equal(image, picture(2))
    np.testing.assert_array_equal(mask[..., 0], disc(1))
    np.save(tmp_path / "mask_val.npy", np.zeros((3, *disc().shape), "uint8"))
    with pytest.raises(InputError, match=r"mask_val.npy: is \(3, 30, 40\), but data_val.npy"):
        find_splits(skin, tmp_path)
    (tmp_path / "mask_val.npy").unlink()
    with pytest.raises(InputError, match=r"mask_val.npy: no such file"):
        find_splits(skin, tmp_path)


# several classes -----------------------------------------------------------------------------


def test_label_maps_are_read_as_one_mask_per_class(tmp_path):
    samples = find_samples(hip, hip_folder(tmp_path)).samples
    assert names(samples)[:3] == ["p0_s0", "p0_s1", "p1_s0"]
    assert samples[2].group == "p1" and samples[2].spacing is None
    image, masks = samples[3].read()
    np.testing.assert_array_equal(image, picture(3))
    np.testing.assert_array_equal(masks, rows_of_labels()[..., None] == [1, 2, 3])


def test_one_file_per_class_may_overlap(tmp_path):
    for patient in range(3):
        save(tmp_path / "images" / f"p{patient}.jpg", picture(patient))
        for i, name in enumerate(hip.classes):
            mask = disc(center=(15, 16 + 4 * i))
            save(tmp_path / "masks" / f"p{patient}_{name}.png", mask)
    sample = find_samples(hip, tmp_path).samples[1]
    _, masks = sample.read()
    np.testing.assert_array_equal(masks[..., 2], disc(1, center=(15, 24)))
    assert (masks.sum(axis=-1) > 1).any() and len(sample.files) == 4
    (tmp_path / "masks" / "p1_left_femur.png").unlink()
    listing = find_samples(hip, tmp_path)
    (error,) = listing.errors
    assert error.startswith(f"{tmp_path}/images/p1.jpg: has no mask ")
    assert f"{tmp_path}/masks/p1_left_femur.png" in error


def test_jpeg_masks_are_one_warning(tmp_path):
    binary_folder(tmp_path, [f"a{i}" for i in range(5)], suffix="jpg")
    listing = find_samples(polyp, tmp_path)
    (warning,) = listing.warnings
    assert warning.startswith(f"{tmp_path}: ") and "JPEG" in warning and warning.endswith(": 5.")
    _, mask = listing.samples[2].read()
    assert (mask[..., 0] != disc(1, 7)).mean() < 0.01


def test_unknown_spacing_is_said(tmp_path, capsys):
    hip_folder(tmp_path)
    find_splits(hip, tmp_path)
    said = capsys.readouterr().out
    assert "12 of 12" in said and "unknown" in said
    find_splits(hip, tmp_path, spacing=(0.25, 0.25))
    assert "0.25 x 0.25 mm in 12 of 12" in capsys.readouterr().out


def test_groups_and_spacings_by_csv(tmp_path):
    hip_folder(tmp_path)
    (tmp_path / "groups.csv").write_text("stem,group\np0_s0,anna\np1_s1.png,anna\n")
    (tmp_path / "spacing.csv").write_text("stem,row,column\np0_s0,0.5,0.4\np0_s1,0.3\np1_s0,-1\n")
    listing = find_samples(hip, tmp_path)
    by_name = {sample.name: sample for sample in listing.samples}
    assert by_name["p0_s0"].group == by_name["p1_s1"].group == "anna"
    assert by_name["p0_s1"].group == "p0_s1"  # not listed: counts for itself
    assert by_name["p0_s0"].spacing == (0.5, 0.4) and by_name["p0_s1"].spacing == (0.3, 0.3)
    assert by_name["p2_s0"].spacing is None
    assert re.match(f"{tmp_path}/spacing.csv: .* p1_s0 .*-1 x -1", listing.errors[0])
    assert find_samples(hip, tmp_path, (0.2, 0.2)).samples[-1].spacing == (0.2, 0.2)
    (tmp_path / "groups.csv").write_text("p0_s0\n")
    with pytest.raises(InputError, match="groups.csv: .*'p0_s0' lacks group"):
        find_samples(hip, tmp_path)


# volumes -------------------------------------------------------------------------------------


def test_decathlon_volumes(tmp_path):
    samples = find_samples(prostate, decathlon_folder(tmp_path / "Task05_Prostate")).samples
    assert names(samples)[0] == "case_00" and samples[0].group == "case_00"
    assert samples[0].slices == 5 and samples[0].spacing == pytest.approx((3.0, 0.8, 1.0))
    image, masks = samples[0].read()
    assert image.shape == (5, 20, 24, 2) and image.dtype == np.float32
    np.testing.assert_allclose(image.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(image.std((0, 1, 2)), 1, atol=1e-5)
    stored = np.asarray(nibabel.load(samples[0].files[1]).dataobj)
    for label in (1, 2):  # slices have y down and x across
        np.testing.assert_array_equal(masks[3, :, :, label - 1], (stored[:, :, 3] == label).T)
    assert sum(counts(prostate, tmp_path).values()) == 6  # one folder up is as good


def test_decathlon_classes_go_by_name_where_the_names_agree(tmp_path):
    decathlon_folder(tmp_path, 3, names=("tz", "pz"))
    _, masks = find_samples(prostate, tmp_path).samples[0].read()
    assert masks[..., 1].sum() > masks[..., 0].sum()  # label 1, the larger, is now TZ
    decathlon_folder(tmp_path, 3, names=("Anterior", "Posterior"))
    _, masks = find_samples(prostate, tmp_path).samples[0].read()
    assert masks[..., 0].sum() > masks[..., 1].sum()
    description = json.loads((tmp_path / "dataset.json").read_text())
    description["labels"] = {"background": 0, "first": 1, "second": 2}  # nnU-Net's way round
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    assert find_samples(prostate, tmp_path).samples[0].read()[1].shape[-1] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"training": [{"image": 3, "label": "labelsTr/a.nii"}]},
        {"training": [{"image": "imagesTr/a.nii"}]},
        {"training": None},
        {"labels": ["background", "PZ", "TZ"]},
        {"labels": {"0": "background", "1": "P\nZ", "2": "TZ"}},
    ],
)
def test_a_damaged_description_of_volumes_is_one_sentence(tmp_path, change):
    decathlon_folder(tmp_path, 3)
    file = tmp_path / "dataset.json"
    for content in (json.dumps(json.loads(file.read_text()) | change), "[" * 200_000, "{"):
        file.write_text(content)
        with pytest.raises(InputError, match="dataset.json: .*'labels'") as error:
            find_samples(prostate, tmp_path)
        assert "\n" not in str(error.value)


def damage_volume(folder, what):
    label, image = folder / "labelsTr" / "case_02.nii.gz", folder / "imagesTr" / "case_02.nii.gz"
    volume = nibabel.load(label)
    values = np.asarray(volume.dataobj).copy()
    if what == "label":
        values[0, 0, 0] = 7
    elif what == "shape":
        values = values[:, :, :4]
    elif what == "missing":
        return label.unlink()
    elif what == "truncated":
        return image.write_bytes(image.read_bytes()[:2000])
    elif what == "not a volume":
        return image.write_text("hello")
    elif what == "nan":
        bad = nibabel.load(image)
        pixels = np.asarray(bad.dataobj).copy()
        pixels[0, 0, 0] = np.nan
        return nibabel.save(nibabel.Nifti1Image(pixels, bad.affine), image)
    affine = volume.affine * 2 if what == "spacing" else volume.affine
    return nibabel.save(nibabel.Nifti1Image(values, affine), label)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("label", r"labelsTr/case_02.nii.gz: .*label 7"),
        ("shape", r"labelsTr/case_02.nii.gz: .*another grid .*24 x 20 x 4"),
        ("missing", r"labelsTr/case_02.nii.gz: .*missing.* dataset.json"),
        ("truncated", r"imagesTr/case_02.nii.gz: not a readable volume"),
        ("not a volume", r"imagesTr/case_02.nii.gz: not a readable volume"),
        ("nan", r"imagesTr/case_02.nii.gz: holds undefined values"),
        ("spacing", r"labelsTr/case_02.nii.gz: .*another grid"),
    ],
)
def test_one_sentence_names_the_volume(tmp_path, what, message):
    decathlon_folder(tmp_path, 3)
    damage_volume(tmp_path, what)
    with pytest.raises(InputError, match=message) as error:
        for samples in find_splits(prostate, tmp_path).values():
            for sample in samples:
                sample.read()
    assert "\n" not in str(error.value)


def test_a_task_with_other_channels_or_classes_is_refused(tmp_path):
    decathlon_folder(tmp_path, 3, channels=1)
    with pytest.raises(InputError, match="1 channel.* 2"):
        find_samples(prostate, tmp_path).samples[0].read()
    three = replace(prostate, classes=("a", "b", "c"))
    with pytest.raises(InputError, match=r"dataset.json: .*2 labels \(pz, tz\)"):
        find_samples(three, tmp_path)


# what does not fit ---------------------------------------------------------------------------


def test_no_layout_lists_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    for task in TASKS.values():
        with pytest.raises(InputError) as error:
            find_samples(task, tmp_path)
        for phrase in ("dataset.json", "data_train.npy", "ISIC_*.jpg", "images/", "TrainDataset/"):
            assert phrase in str(error.value)
    with pytest.raises(InputError, match="absent: no such folder"):
        find_samples(hip, tmp_path / "absent")


def test_volumes_for_an_image_task_and_the_other_way_round(tmp_path):
    decathlon_folder(tmp_path / "volumes", 3)
    hip_folder(tmp_path / "images")
    with pytest.raises(InputError, match="volumes, .* hip .*images"):
        find_samples(hip, tmp_path / "volumes")
    with pytest.raises(InputError, match="images, .* prostate .*volumes"):
        find_samples(prostate, tmp_path / "images")


def damage(folder, what):
    image, mask = folder / "images" / "p3_s1.png", folder / "masks" / "p3_s1.png"
    if what == "no mask":
        mask.unlink()
    elif what == "no image":
        image.unlink()
    elif what == "other size":
        save(mask, np.zeros((30, 41), "uint8"))
    elif what == "label":
        save(mask, np.full((30, 40), 4, "uint8"))
    elif what == "colour mask":
        save(mask, picture(1))
    elif what == "unreadable image":
        image.write_bytes(image.read_bytes()[:40])
    elif what == "truncated image":
        image.write_bytes(image.read_bytes()[:-200])
    elif what == "unreadable mask":
        mask.write_text("not an image")
    elif what == "same stem":
        save(image.with_suffix(".jpg"), picture(1))
    elif what == "empty folder":
        for path in (folder / "images").iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no mask", r"images/p3_s1.png: has no mask .*masks/p3_s1.png"),
        ("no image", r"masks/p3_s1.png: has no image"),
        ("other size", r"masks/p3_s1.png: .*41x30 pixels.* 40x30"),
        ("label", r"masks/p3_s1.png: .*label 4.* 1 pelvis, 2 left_femur"),
        ("colour mask", r"masks/p3_s1.png: is a colour image"),
        ("unreadable image", r"images/p3_s1.png: not a readable image"),
        ("truncated image", r"images/p3_s1.png: not a readable image"),
        ("unreadable mask", r"masks/p3_s1.png: not a readable mask"),
        ("same stem", r"images/p3_s1.png: p3_s1.jpg .*same stem"),
        ("empty folder", r"images: .*no images"),
    ],
)
def test_one_sentence_names_the_file(tmp_path, what, message):
    damage(hip_folder(tmp_path), what)
    with pytest.raises(InputError, match=message) as error:
        for samples in find_splits(hip, tmp_path).values():
            for sample in samples:
                sample.read()
    assert "\n" not in str(error.value)


def test_outlines_of_radiotherapy_are_refused_by_name(tmp_path):
    structures = get_testdata_file("rtstruct.dcm")
    image = get_testdata_file("CT_small.dcm")
    for part, files in (("series", (image, structures)), ("images", (image,)), ("masks", ())):
        (tmp_path / part).mkdir()
        for file in files:
            shutil.copy(file, tmp_path / part)
    with pytest.raises(InputError, match=r"rtstruct\.dcm.*RT-STRUCT"):
        find_samples(polyp, tmp_path / "series")
    shutil.copy(structures, tmp_path / "masks" / "CT_small.dcm")
    with pytest.raises(InputError, match=r"CT_small\.dcm.*RT-STRUCT"):
        find_samples(polyp, tmp_path)
