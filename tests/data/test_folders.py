import cv2
import numpy as np
import pytest

import transfuse_keras as tk
from transfuse_keras.data.folders import find_samples
from transfuse_keras.data.samples import read_resized
from transfuse_keras.data.splits import split_by_group
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import hip


@pytest.fixture
def folder(tmp_path):
    """Six patients with two slices of 40x30 pixels each; label k is a row of 4 pixels."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    rng = np.random.default_rng(0)
    for patient in range(6):
        for number in range(2):
            stem = f"p{patient}_s{number}"
            image = rng.integers(0, 255, (30, 40), dtype="uint8")
            cv2.imwrite(str(tmp_path / "images" / f"{stem}.png"), image)
            labels = np.zeros((30, 40), "uint8")
            for label in (1, 2, 3):
                labels[8 * label : 8 * label + 4] = label
            cv2.imwrite(str(tmp_path / "masks" / f"{stem}.png"), labels)
    return tmp_path


def read_all(folder):
    return [sample.read() for sample in find_samples(hip, folder)]


def test_pairs_are_read_as_one_mask_per_class(folder):
    samples = find_samples(hip, folder)
    assert [sample.name for sample in samples[:3]] == ["p0_s0", "p0_s1", "p1_s0"]
    assert samples[2].group == "p1" and samples[2].spacing is None
    image, masks = samples[0].read()
    stored = cv2.imread(str(folder / "images" / "p0_s0.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(image, np.repeat(stored[..., None], 3, axis=2))
    wanted = np.zeros((30, 40, 3), "uint8")
    for i in range(3):
        wanted[8 * (i + 1) : 8 * (i + 1) + 4, :, i] = 1
    np.testing.assert_array_equal(masks, wanted)


def test_resized_masks_stay_binary_and_keep_their_area(folder):
    images, masks = read_resized(find_samples(hip, folder), (64, 48))
    assert images.shape == (12, 64, 48, 3) and images.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 1}
    np.testing.assert_allclose(masks.mean(axis=(0, 1, 2)), 4 / 30, atol=0.02)


def test_no_patient_is_on_two_sides(folder):
    samples = find_samples(hip, folder)
    splits = split_by_group(samples)
    groups = {part: {sample.group for sample in members} for part, members in splits.items()}
    assert [len(groups[part]) for part in ("train", "val", "test")] == [4, 1, 1]
    assert groups["train"] | groups["val"] | groups["test"] == {f"p{i}" for i in range(6)}
    names = [sample.name for members in splits.values() for sample in members]
    assert sorted(names) == [sample.name for sample in samples]
    assert split_by_group(samples[::-1])["test"][0].group == splits["test"][0].group
    with pytest.raises(InputError, match="2 patients"):
        split_by_group(samples[:4])


def test_dataset_of_a_folder_holds_its_test_patient(folder):
    ((image, mask),) = tk.dataset(hip, folder, split="test", image_size=(30, 40))
    wanted = [sample.read() for sample in split_by_group(find_samples(hip, folder))["test"]]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    images = (np.stack([pair[0] for pair in wanted]) / 255 - mean) / std
    np.testing.assert_allclose(image, images, atol=1e-5)
    np.testing.assert_array_equal(mask, np.stack([pair[1] for pair in wanted]))


def damage(folder, what):
    image, mask = folder / "images" / "p3_s1.png", folder / "masks" / "p3_s1.png"
    if what == "no mask":
        mask.unlink()
    elif what == "no image":
        image.unlink()
    elif what == "other size":
        cv2.imwrite(str(mask), np.zeros((30, 41), "uint8"))
    elif what == "label":
        cv2.imwrite(str(mask), np.full((30, 40), 4, "uint8"))
    elif what == "colour mask":
        cv2.imwrite(str(mask), np.zeros((30, 40, 3), "uint8"))
    elif what == "unreadable image":
        image.write_bytes(image.read_bytes()[:40])
    elif what == "unreadable mask":
        mask.write_text("not an image")
    elif what == "same stem":
        cv2.imwrite(str(image.with_suffix(".jpg")), np.zeros((30, 40), "uint8"))
    elif what == "no folder":
        (folder / "masks").rename(folder / "labels")
    elif what == "empty folder":
        for path in (folder / "images").iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no mask", r"images/p3_s1.png: has no mask .*masks/p3_s1.png; add"),
        ("no image", r"masks/p3_s1.png: has no image"),
        ("other size", r"masks/p3_s1.png: is 41x30 pixels, but its image .* is 40x30"),
        ("label", r"masks/p3_s1.png: holds the label 4, but .* 1 pelvis, 2 left_femur"),
        ("colour mask", r"masks/p3_s1.png: a label map has one channel, this has 3"),
        ("unreadable image", r"images/p3_s1.png: not a readable image"),
        ("unreadable mask", r"masks/p3_s1.png: not a readable mask"),
        ("same stem", r"images/p3_s1.png: p3_s1.jpg has the same stem"),
        ("no folder", r"masks: no such folder"),
        ("empty folder", r"images: holds no images"),
    ],
)
def test_one_sentence_names_the_file(folder, what, message):
    damage(folder, what)
    with pytest.raises(InputError, match=message) as error:
        read_all(folder)
    assert "\n" not in str(error.value)
