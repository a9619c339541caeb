from dataclasses import replace

import numpy as np
import pytest
from data.files import decathlon_folder

from transfuse_keras.data.augmentation import augment
from transfuse_keras.data.cache import read_part
from transfuse_keras.data.context import with_neighbours
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.order import Order
from transfuse_keras.data.pipeline import batches
from transfuse_keras.tasks import Augmentation, Task, hip, prostate

SIZE = (16, 16)
# of a slice's place in a volume of four: which slices it is seen with
ONE = {0: (0, 0, 1), 1: (0, 1, 2), 2: (1, 2, 3), 3: (2, 3, 3)}
TWO = {0: (0, 0, 0, 1, 2), 1: (0, 0, 1, 2, 3), 2: (0, 1, 2, 3, 3), 3: (1, 2, 3, 3, 3)}


@pytest.mark.parametrize(
    ("context", "drawn"), [(0, {i: (i,) for i in range(4)}), (1, ONE), (2, TWO)]
)
def test_neighbours_are_further_channels_and_the_border_slice_is_repeated(context, drawn):
    slices = np.zeros((4, 2, 3, 2), "float32")
    slices[...] = np.arange(4)[:, None, None, None] + np.array([0, 0.5])
    found = with_neighbours(slices, context)
    for place, others in drawn.items():
        wanted = [channel for i in others for channel in (i, i + 0.5)]
        assert found[place].shape == (2, 3, len(wanted))
        np.testing.assert_array_equal(found[place, 1, 2], wanted)


def test_the_batches_hold_neighbours_of_the_same_volume_alone_on_each_process(tmp_path):
    task = replace(prostate, context=1, augmentation=Augmentation(), recipe=None)
    samples = find_samples(task, decathlon_folder(tmp_path, count=3)).samples[:3]
    alone, masks = read_part(samples, SIZE, task.field, (0, 1))
    wanted = [
        np.concatenate([alone[5 * volume + i] for i in place], axis=-1)
        for volume in range(3)
        for place in ((0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 4))
    ]
    found = {}
    for p in range(2):
        images, truth = read_part(samples, SIZE, task.field, (p, 2), task.context)
        np.testing.assert_array_equal(truth, masks[p::2])
        assert images.shape == (len(truth), *SIZE, 6) == (len(truth), *SIZE, task.inputs)
        order = Order(15, 4, None, (p, 2))
        given = batches(images, truth, task, task.normalization, order)
        rows = np.concatenate([np.asarray(batch[0]) for batch in given])
        found |= {2 * i + p: row for i, row in enumerate(rows)}
    for index, image in enumerate(wanted):
        np.testing.assert_allclose(found[index], image, atol=1e-5)


def test_a_change_is_of_all_slices_alike():
    """Equal slices stay equal: with all but noise, which is drawn for each value."""
    changes = replace(prostate.augmentation, noise=0.0, saturation=0.5, probability={})
    image = np.random.default_rng(0).standard_normal((24, 20, 1)).astype("float32")
    masks = np.zeros((24, 20, 2), "uint8")
    for context, slices in ((1, 3), (2, 5)):
        task = replace(prostate, channels=1, context=context, augmentation=changes)
        stacked = np.repeat(image, slices, axis=-1)
        changed, _ = augment(stacked, masks, task, np.random.default_rng(1))
        assert changed.shape == (24, 20, slices) and abs(changed - stacked).max() > 0.1
        np.testing.assert_allclose(changed, np.tile(changed[..., :1], slices), atol=1e-5)


def test_images_have_no_slices_beside_them():
    for wrong in ({"context": 1}, {"context": -1, "field": (10.0, 10.0)}):
        with pytest.raises(ValueError, match="context"):
            Task("x", ("a",), **wrong)
    assert hip.inputs == 3 and replace(prostate, context=2).inputs == 10
