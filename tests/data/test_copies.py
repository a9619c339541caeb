"""Images that look alike in two splits: found when they are copies, frames or resized, else not."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from transfuse_keras.data.copies import (
    find_copies,
    find_lookalikes,
    share_bits,
    take_fingerprint,
    warn_of_lookalikes,
)

SIZE = (96, 128)


def scene(seed):
    """A picture with some structure, uint8 (96, 128, 3): coloured blobs on a slow shade."""
    rng = np.random.default_rng(seed)
    noise = [cv2.GaussianBlur(rng.normal(size=SIZE), (0, 0), sigma) for sigma in (3, 8, 25)]
    grey = sum(x / x.std() for x in noise)
    return np.clip(128 + 30 * grey[..., None] + rng.uniform(-20, 20, 3), 0, 255).astype("uint8")


def resized(image):
    small = cv2.resize(image, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def compressed(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1)


def brighter(image):
    return np.clip(1.15 * image.astype(float) + 8, 0, 255).astype("uint8")


def moved(image):
    return cv2.warpAffine(
        image, np.float32([[1, 0, 4], [0, 1, 3]]), SIZE[::-1], borderMode=cv2.BORDER_REFLECT
    )


def split(**parts):
    """Splits of samples and their fingerprints, from part -> list of images."""
    splits, prints = {}, {}
    for part, images in parts.items():
        splits[part] = [SimpleNamespace(name=f"{part}{i}", files=()) for i in range(len(images))]
        for sample, image in zip(splits[part], images, strict=True):
            prints[sample.name] = take_fingerprint(image[None])
    return splits, prints


@pytest.mark.parametrize("change", [resized, compressed, brighter, moved])
def test_a_changed_copy_in_another_split_is_found_and_nothing_else(change):
    train = [scene(seed) for seed in range(60)]
    test = [scene(seed) for seed in range(100, 120)]
    test[7] = change(train[31])
    splits, prints = split(train=train, val=[scene(200)], test=test)
    ((score, (part, first), (other, second)),), _ = find_lookalikes(splits, prints)
    assert {(part, first.name), (other, second.name)} == {("train", "train31"), ("test", "test7")}
    assert 0.88 <= score <= 1 and find_copies(splits, prints) == ([], [])
    (warning,) = warn_of_lookalikes(splits, prints)
    assert "train31" in warning and "test7" in warning


def test_within_a_split_and_of_flat_pictures_nothing_is_said():
    flat = np.full((*SIZE, 3), 90, "uint8")
    splits, prints = split(train=[scene(1), resized(scene(1)), flat], test=[scene(2), flat // 2])
    assert find_lookalikes(splits, prints)[0] == []
    splits["test"] = splits["val"] = []
    assert find_lookalikes(splits, prints)[0] == []


def test_many_pairs_are_one_sentence_that_counts_them():
    frames = [scene(seed) for seed in range(9)]
    (warning,) = warn_of_lookalikes(*split(train=frames, test=[moved(x) for x in frames]))
    assert "9 pairs" in warning and "4 more" in warning


def test_of_very_many_images_a_sample_is_compared_and_the_warning_says_so(monkeypatch):
    monkeypatch.setattr("transfuse_keras.data.copies.ASKED", 6)
    frames = [scene(seed) for seed in range(9)]
    (warning,) = warn_of_lookalikes(*split(train=frames, test=[moved(x) for x in frames]))
    assert "6 pairs (6 of 9 validation and test images were compared)" in warning


def test_the_difference_hash_is_that_of_its_definition():
    image = scene(5)
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=3)
    bits = "".join("1" if row[i + 1] > row[i] else "0" for row in grey for i in range(8))
    assert int(take_fingerprint(image[None]).dhash, 16) == int(bits, 2)
    other = take_fingerprint(scene(6)[None]).dhash
    assert share_bits(f"{int(bits, 2):016x}", other) < 0.8
    assert share_bits("0" * 16, "f" * 16) == share_bits("", "") == 0
    assert share_bits("0" * 16, "0" * 15 + "1") == 1 - 1 / 64


def test_a_volume_is_known_by_its_look_where_its_z_scores_are_rounded_otherwise():
    volumes = [
        np.stack([scene(seed + i)[..., :1] / 64 - 1 for i in range(3)]).astype("float32")
        for seed in (1, 40)
    ]
    first, other = map(take_fingerprint, volumes)
    again = take_fingerprint(volumes[0] * np.float32(1 + 1e-6))
    assert first.digest != again.digest and share_bits(first.dhash, again.dhash) > 0.95
    assert share_bits(first.dhash, other.dhash) < 0.85
