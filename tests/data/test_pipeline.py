import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from data.files import binary_folder, decathlon_folder, hip_folder

import transfuse_keras as tk
from transfuse_keras.data import cache, pipeline
from transfuse_keras.data.batches import Batches
from transfuse_keras.data.cache import allocate, read_resized
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.normalization import normalizer
from transfuse_keras.data.order import Order
from transfuse_keras.data.resize import binary, crop_field
from transfuse_keras.data.splits import find_splits
from transfuse_keras.errors import InputError

IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.mark.parametrize("name", tk.tasks.TASKS)
def test_phantom_splits_never_meet(name):
    task = tk.tasks.TASKS[name]
    splits = find_splits(task)
    names = [sample.name for part in splits.values() for sample in part]
    assert len(names) == len(set(names)) == sum(task.phantom_recipe.counts)


def test_validation_batches_are_the_normalised_images_in_order():
    images, masks, _ = tk.phantoms("hip", 352, (32, 48))
    batches = list(tk.dataset(tk.tasks.hip, split="val", image_size=(32, 48), batch_size=5))
    assert [len(image) for image, _ in batches] == [5, 5, 5, 5, 5, 5, 2]
    image, mask = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    mean, std = IMAGENET
    np.testing.assert_allclose(image, (images[320:] / 255 - mean) / std, atol=1e-5)
    np.testing.assert_array_equal(mask, masks[320:])
    assert image.dtype == mask.dtype == np.float32


def test_normalizer_is_the_textbook_formula():
    image = np.array([[[0, 128, 255]]], "uint8")
    wanted = [[[(0 - 0.5) / 0.1, (128 / 255 - 0.4) / 0.2, (1 - 0.3) / 0.3]]]
    for dtype in ("uint8", "float32"):
        normalize = normalizer(((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)), np.dtype(dtype))
        np.testing.assert_allclose(normalize(image.astype(dtype)), wanted, rtol=1e-5)


def test_slices_of_volumes_are_fitted_and_not_normalised_again(tmp_path):
    decathlon_folder(tmp_path, 10)
    task = tk.tasks.prostate
    dataset = tk.dataset(task, tmp_path, split="test", image_size=(64, 64), batch_size=4)
    samples = find_splits(task, tmp_path)["test"]
    assert sum(len(image) for image, _ in dataset) == 5 * len(samples)  # slices
    image, mask = (np.concatenate(parts) for parts in zip(*dataset, strict=True))
    volume, truth = samples[-1].read()
    spacing = (0.8, 1.0)
    wanted = [crop_field(x, spacing, task.field, (64, 64)) for x in volume]
    np.testing.assert_allclose(image[-5:], wanted, atol=1e-5)
    wanted = [binary(crop_field(x, spacing, task.field, (64, 64))) for x in truth]
    np.testing.assert_array_equal(mask[-5:], wanted)
    assert mask.any() and not mask[:, 0].any()


def test_a_folder_gives_the_same_batches_as_its_files(tmp_path):
    hip_folder(tmp_path)
    ((image, mask),) = tk.dataset(tk.tasks.hip, tmp_path, split="test", image_size=(30, 40))
    wanted = [sample.read() for sample in find_splits(tk.tasks.hip, tmp_path)["test"]]
    mean, std = IMAGENET
    images = (np.stack([pair[0] for pair in wanted]) / 255 - mean) / std
    np.testing.assert_allclose(image, images, atol=1e-5)
    np.testing.assert_array_equal(mask, np.stack([pair[1] for pair in wanted]))


def test_resized_masks_stay_binary_and_keep_their_area(tmp_path):
    images, masks = read_resized(find_samples(tk.tasks.hip, hip_folder(tmp_path)).samples, (64, 48))
    assert images.shape == (12, 64, 48, 3) and images.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 1}
    np.testing.assert_allclose(masks.mean(axis=(0, 1, 2)), 4 / 30, atol=0.02)


def epochs(seed, count=2):
    dataset = tk.dataset(tk.tasks.hip, image_size=(16, 16), batch_size=64, seed=seed)
    return [np.concatenate([image for image, _ in dataset]) for _ in range(count)]


def test_epochs_differ_and_runs_do_not():
    first, second = epochs(seed=1)
    assert np.abs(first - second).max() > 0.1
    for ours, again in zip((first, second), epochs(seed=1), strict=True):
        np.testing.assert_array_equal(ours, again)


def test_without_tensorflow_the_batches_are_the_same_bit_for_bit(monkeypatch):
    """Two epochs of augmented training batches, and validation padded for two devices."""
    size = {"image_size": (32, 32), "batch_size": 8, "seed": 3}
    wanted = {
        "train": tk.dataset(tk.tasks.hip, None, "train", **size),
        "val": tk.dataset(tk.tasks.hip, None, "val", shard=(1, 2), **size),
    }
    monkeypatch.setattr(pipeline, "backend", lambda: "jax")
    found = {
        "train": tk.dataset(tk.tasks.hip, None, "train", **size),
        "val": tk.dataset(tk.tasks.hip, None, "val", shard=(1, 2), **size),
    }
    for part in wanted:
        for _ in range(2):
            batches = [found[part][k] for k in range(len(found[part]))]
            for theirs, ours in zip(wanted[part], batches, strict=True):
                for a, b in zip(theirs, ours, strict=True):
                    np.testing.assert_array_equal(a, b)
            found[part].on_epoch_end()


def test_an_epoch_shows_every_image_once():
    dataset = tk.dataset(tk.tasks.hip, image_size=(16, 16), batch_size=64, augment=False)
    shown = np.concatenate([image for image, _ in dataset])
    images, _, _ = tk.phantoms("hip", 320, (16, 16))
    mean, std = IMAGENET
    wanted = (images / 255 - mean) / std
    assert not np.allclose(shown, wanted)  # shuffled
    order = [np.lexsort(x.reshape(320, -1).round(3).T) for x in (shown, wanted)]
    np.testing.assert_allclose(shown[order[0]], wanted[order[1]], atol=1e-4)


def test_each_worker_reads_only_its_files(tmp_path):
    for part in ("train", "val", "test"):
        binary_folder(tmp_path / part, [f"{i:02}" for i in range(16)])
    (tmp_path / "train" / "images" / "03.png").write_text("damaged")

    def count(index):
        given = {"image_size": (32, 32), "batch_size": 4, "shard": (index, 2)}
        return sum(len(x) for x, _ in tk.dataset(tk.tasks.polyp, tmp_path, **given))

    assert count(0) == 8
    with pytest.raises(InputError, match="03.png: not a readable image"):
        count(1)


def test_what_does_not_fit_into_memory_is_kept_in_a_file(monkeypatch, capsys, tmp_path):
    samples = find_samples(tk.tasks.hip, hip_folder(tmp_path)).samples
    in_memory = read_resized(samples, (32, 32))

    # images take 36 KiB, masks too: each alone would fit into half
    monkeypatch.setattr(cache, "available_memory", lambda: 2 * 50 * 2**10)
    in_file = read_resized(samples, (32, 32))
    assert all(isinstance(part, np.memmap) for part in in_file)
    assert "into memory" in capsys.readouterr().out
    for ours, theirs in zip(in_file, in_memory, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    train = tk.dataset(tk.tasks.hip, tmp_path, image_size=(32, 32))
    wanted = find_splits(tk.tasks.hip, tmp_path)["train"]
    assert sum(len(x) for x, _ in train) == len(wanted)
    monkeypatch.setattr(cache.os, "posix_fallocate", full_disk)
    with pytest.raises(OSError, match="No space left"):
        allocate(((100_000, 2), "uint8"))


def full_disk(*_):
    raise OSError(28, "No space left on device")


def test_a_damaged_file_stops_the_reading_at_once(tmp_path):
    hip_folder(tmp_path)
    (tmp_path / "images" / "p3_s0.png").write_text("damaged")
    with pytest.raises(InputError, match="p3_s0.png: not a readable image"):
        read_resized(find_samples(tk.tasks.hip, tmp_path).samples, (32, 32))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"task": "hip"}, "'hip'; give a Task"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"image_size": 64}, "image_size is 64; give .height, width."),
    ],
)
def test_unusable_arguments_are_named(arguments, said):
    with pytest.raises(InputError, match=said):
        tk.dataset(**{"task": tk.tasks.hip, **arguments})


def test_unknown_split_is_refused():
    with pytest.raises(InputError, match="split 'dev'.* train, val, test"):
        tk.dataset(tk.tasks.hip, split="dev")


def test_a_split_without_samples_is_refused(tmp_path):
    binary_folder(tmp_path / "test", ["a", "b"])
    assert len(list(tk.dataset(tk.tasks.polyp, tmp_path, split="test"))) == 1
    with pytest.raises(InputError, match="no samples .*train split"):
        tk.dataset(tk.tasks.polyp, tmp_path, split="train")


def test_images_of_other_sizes_are_brought_to_one(tmp_path):
    binary_folder(tmp_path, ["a", "b", "c"])
    for part in ("images", "masks"):
        path = str(tmp_path / part / "b.png")
        cv2.imwrite(path, cv2.resize(cv2.imread(path), (91, 77)))
    images, masks = read_resized(find_samples(tk.tasks.polyp, tmp_path).samples, (30, 40))
    assert images.shape == (3, 30, 40, 3) and masks.shape == (3, 30, 40, 1)
    assert set(np.unique(masks)) == {0, 1}


def test_opencv_starts_no_threads_in_ours_and_is_given_back_as_it_was(monkeypatch):
    seen = []

    def augment(image, mask, task, rng, pen_marks):
        seen.append(cv2.getNumThreads())
        return image, mask

    monkeypatch.setattr(pipeline, "augment", augment)
    monkeypatch.setattr(pipeline, "backend", lambda: "jax")  # whose batches are made when asked for
    found = tk.dataset(tk.tasks.hip, image_size=(16, 16), batch_size=8)
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        found[len(found) - 1]  # nothing is loaded ahead of the last batch
        assert set(seen) == {1} and cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_keras_is_given_the_batches_of_the_epoch_that_it_trains(backend):
    """It loads some before the epoch begins; a training that goes on has the right ones, too."""
    pytest.importorskip(backend)
    probe = Path(__file__).with_name("epochs_probe.py")
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    printed = subprocess.run(
        [sys.executable, probe], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(printed.splitlines()[-1]) == [[0, 1, 2], [0, 1, 2], [2, 3, 4]]


def test_each_loop_over_batches_without_tensorflow_is_another_epoch():
    seen = Batches(lambda batch, epoch: (batch, epoch), Order(24, 4, 0))
    for epoch in range(3):
        assert list(seen) == [(batch, epoch) for batch in range(6)]
