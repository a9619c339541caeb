import numpy as np
import pytest

import transfuse_keras as tk
from transfuse_keras.data.pipeline import find_splits
from transfuse_keras.errors import InputError


def test_phantom_splits_never_meet():
    splits = find_splits(tk.tasks.hip)
    names = [sample.name for part in splits.values() for sample in part]
    assert len(names) == len(set(names)) == sum(tk.tasks.hip.phantom_recipe.counts)


def test_validation_batches_are_the_normalised_images_in_order():
    images, masks, _ = tk.phantoms("hip", 352, (32, 48))
    batches = list(tk.dataset(tk.tasks.hip, split="val", image_size=(32, 48), batch_size=5))
    assert [len(image) for image, _ in batches] == [5, 5, 5, 5, 5, 5, 2]
    image, mask = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(image, (images[320:] / 255 - mean) / std, atol=1e-5)
    np.testing.assert_array_equal(mask, masks[320:])
    assert image.dtype == mask.dtype == np.float32


def epochs(seed, count=2):
    dataset = tk.dataset(tk.tasks.hip, image_size=(16, 16), batch_size=64, seed=seed)
    return [np.concatenate([image for image, _ in dataset]) for _ in range(count)]


def test_epochs_differ_and_runs_do_not():
    first, second = epochs(seed=1)
    assert np.abs(first - second).max() > 0.1
    for ours, again in zip((first, second), epochs(seed=1), strict=True):
        np.testing.assert_array_equal(ours, again)


def test_an_epoch_shows_every_image_once():
    dataset = tk.dataset(tk.tasks.hip, image_size=(16, 16), batch_size=64, augment=False)
    shown = np.concatenate([image for image, _ in dataset])
    images, _, _ = tk.phantoms("hip", 320, (16, 16))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = (images / 255 - mean) / std
    assert not np.allclose(shown, wanted)  # shuffled
    order = [np.lexsort(x.reshape(320, -1).round(3).T) for x in (shown, wanted)]
    np.testing.assert_allclose(shown[order[0]], wanted[order[1]], atol=1e-4)


def test_unknown_split_is_refused():
    with pytest.raises(InputError, match="Unknown split 'dev'; known are: train, val, test"):
        tk.dataset(tk.tasks.hip, split="dev")
