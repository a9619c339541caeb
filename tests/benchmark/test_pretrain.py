"""What benchmarks/pretrain.py hides, and what its loss counts."""

import numpy as np
import pytest

from benchmarks.pretrain import HIDDEN, PATCH, HiddenPatches, restoration_loss

PLAIN = (0.0,) * 3, (1.0,) * 3


def test_a_share_of_the_patches_is_hidden_in_the_input_alone():
    images = [np.full((96, 120, 3), 50 + i, "uint8") for i in range(4)]
    inputs, targets = HiddenPatches(images, (64, 80), PLAIN, batch_size=4, seed=0)[0]
    colours, hidden = targets[..., :3], targets[..., 3]
    patches = hidden.reshape(4, 4, PATCH, 5, PATCH)
    assert (patches == patches[:, :, :1, :, :1]).all()
    np.testing.assert_array_equal(patches[:, :, 0, :, 0].sum(axis=(1, 2)), 20 * HIDDEN)
    assert (inputs[hidden == 1] == 0).all()
    np.testing.assert_array_equal(inputs[hidden == 0], colours[hidden == 0])
    assert colours.min() > 0.19


def test_only_hidden_pixels_count():
    target = np.zeros((1, 1, 2, 4), "float32")
    target[0, 0, 0, 3] = 1
    restored = np.array([[[[0.3, 0.6, -0.9], [9, 9, 9]]]], "float32")
    assert float(restoration_loss(target, restored)) == pytest.approx(0.6)
