import numpy as np
import pytest

from transfuse_keras.metrics import dice
from transfuse_keras.metrics.expected_dice import expected_dice


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_it_is_the_mean_dice_of_truths_drawn_from_the_probabilities(threshold):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :40]
    distance = np.hypot(rows - 18, columns - 22) - 10
    probabilities = 1 / (1 + np.exp(distance / 2))
    mask = probabilities >= threshold
    truths = rng.random((400, *mask.shape)) < probabilities
    simulated = np.mean([dice(truth, mask) for truth in truths])
    assert expected_dice(probabilities, mask) == pytest.approx(simulated, abs=2e-3)


def test_certain_probabilities_give_the_dice_itself():
    truth = np.array([[1, 1, 0, 0], [0, 1, 0, 0]])
    mask = np.array([[1, 0, 0, 0], [1, 1, 0, 0]])
    assert expected_dice(truth.astype(float), mask) == pytest.approx(dice(truth, mask))


def test_an_empty_mask_is_as_certain_as_its_most_suspicious_pixel():
    assert expected_dice(np.array([0.1, 0.4]), np.zeros(2)) == pytest.approx(0.6)
    assert expected_dice(np.zeros(0), np.zeros(0)) == 1
