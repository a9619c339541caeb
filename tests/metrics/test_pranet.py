import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from transfuse_keras import metrics


def plain_loop(truth, probabilities):
    """Curves of Dice and IoU, a cut at a time, as PraNet's Fmeasure_calu.m computes them."""
    p = np.asarray(probabilities, "float64")
    if p.max() > p.min():
        p = (p - p.min()) / (p.max() - p.min())
    dice, iou = np.zeros(256), np.zeros(256)
    for i, threshold in enumerate(np.linspace(1, 0, 256)):
        cut = p >= threshold
        hit = np.count_nonzero(cut & truth)
        if hit:
            dice[i] = 2 * hit / (np.count_nonzero(truth) + np.count_nonzero(cut))
            iou[i] = hit / np.count_nonzero(truth | cut)
    return {"dice": dice, "iou": iou}


def maps(seed, shape=(37, 52)):
    """Maps of many kinds: continuous, float32, 8 bit, exactly at thresholds, binary, constant."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.random(shape), 4)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    yield rng.random(shape)
    yield 0.2 + 0.5 * smooth
    yield smooth.astype("float32")
    yield np.round(255 * smooth) / 255
    yield rng.choice(np.linspace(1, 0, 256), shape)
    yield np.nextafter(rng.choice(np.linspace(1, 0, 256)[1:-1], shape), seed % 2)
    yield (smooth > 0.5).astype(float)
    yield from (np.full(shape, value) for value in (0.0, 0.3, 128 / 255, 1.0))


def truths(seed, shape=(37, 52)):
    blob = gaussian_filter(np.random.default_rng([seed, 1]).random(shape), 3)
    yield blob > np.quantile(blob, 0.8)
    yield np.zeros(shape, bool)
    yield np.ones(shape, bool)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_cut_at_every_threshold(seed):
    for truth in truths(seed):
        for probabilities in maps(seed):
            wanted = plain_loop(truth, probabilities)
            curves = metrics.pranet_curves(truth, probabilities)
            scores = metrics.pranet_scores(truth, probabilities)
            for name in ("dice", "iou"):
                np.testing.assert_allclose(curves[name], wanted[name], rtol=0, atol=1e-12)
                assert scores[name] == pytest.approx(wanted[name].mean(), rel=0, abs=1e-12)
                assert scores[f"max_{name}"] == pytest.approx(wanted[name].max(), abs=1e-12)


def test_worked_by_hand():
    truth = np.array([[True, True, False, False]])
    # stretched to 1, 0.5, 0.5, 0: 128 cuts find pixel 0, 127 the first three, one all of them
    scores = metrics.pranet_scores(truth, np.array([[0.6, 0.4, 0.4, 0.2]]))
    assert scores["dice"] == pytest.approx((128 * 2 / 3 + 127 * 4 / 5 + 4 / 6) / 256)
    assert scores["iou"] == pytest.approx((128 / 2 + 127 * 2 / 3 + 2 / 4) / 256)
    assert scores["max_dice"] == 4 / 5 and scores["max_iou"] == 2 / 3


def test_empty_truth_scores_nothing():
    for probabilities in maps(0):
        empty = np.zeros(probabilities.shape, bool)
        assert set(metrics.pranet_scores(empty, probabilities).values()) == {0.0}


@pytest.mark.parametrize("score", [metrics.pranet_scores, metrics.saliency_scores])
def test_unusable_arguments_are_refused(score):
    truth = np.zeros((4, 6), bool)
    with pytest.raises(ValueError, match="differ in shape"):
        score(truth, np.zeros((4, 5)))
    for wrong in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            score(truth, np.full((4, 6), wrong))
