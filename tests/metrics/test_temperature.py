import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from transfuse_keras.metrics.temperature import (
    LOGIT_BINS,
    LOGITS,
    count_logits,
    fit_temperature,
    scale_probabilities,
)


def drawn(temperature, offset=-1.0, count=20000):
    """Probabilities of pixels, and truths drawn from those with the logits divided."""
    rng = np.random.default_rng(0)
    logits = rng.normal(offset, 4, count)
    return expit(logits), rng.random(count) < expit(logits / temperature)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_it_is_that_of_the_least_negative_log_likelihood(temperature):
    """By scikit-learn: logistic regression of the truth on the logit has the slope 1 / T."""
    p, truth = drawn(temperature)
    found = fit_temperature(*count_logits(p[:, None], truth[:, None])[:, 0])
    theirs = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(
        logit(p)[:, None], truth
    )
    assert found == pytest.approx(1 / theirs.coef_[0, 0], rel=2e-3)

    def loss(log_temperature):
        q = np.clip(expit(logit(p) / np.exp(log_temperature[0])), 1e-12, 1 - 1e-12)
        return -np.where(truth, np.log(q), np.log1p(-q)).mean()

    assert found == pytest.approx(np.exp(minimize(loss, [0.0]).x[0]), rel=2e-3)
    assert found == pytest.approx(temperature, rel=0.05)


def test_each_class_has_its_own():
    (p, a), (q, b) = drawn(0.5), drawn(3.0, offset=1.0)
    pixels, true = count_logits(np.stack([p, q], axis=-1), np.stack([a, b], axis=-1))
    assert pixels.shape == (2, LOGIT_BINS)
    assert pixels.sum() == 2 * len(p) and true[0].sum() == a.sum()
    alone = fit_temperature(*count_logits(q[:, None], b[:, None])[:, 0])
    assert fit_temperature(pixels[1], true[1]) == alone
    middle = pixels[0] @ LOGITS / len(p)
    assert middle == pytest.approx(np.clip(logit(p), -16, 16).mean(), abs=1e-2)


def test_nothing_is_told_by_pixels_of_one_kind():
    p, _ = drawn(1.0)
    for truth in (np.zeros(len(p)), np.ones(len(p))):
        assert fit_temperature(*count_logits(p[:, None], truth[:, None])[:, 0]) == 1


def test_scaling_divides_the_logit_and_keeps_one_half():
    p = np.array([[0.5, 0.2], [0.9, 0.5]], "float32")
    wanted = expit(logit(p.astype("float64")) / [2.0, 0.5])
    np.testing.assert_allclose(scale_probabilities(p, [2.0, 0.5]), wanted, rtol=1e-6)
    assert scale_probabilities(np.array([0.0, 1.0]), 4.0).tolist() == pytest.approx(
        [expit(-4), expit(4)]
    )
