import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from transfuse_keras import metrics

sod = pytest.importorskip("py_sod_metrics")


def blobs(seed, shape=(40, 56)):
    """A truth and a map of 8 bits that resembles it."""
    rng = np.random.default_rng(seed)
    blob = gaussian_filter(rng.standard_normal(shape), 4)
    near = blob + 0.3 * gaussian_filter(rng.standard_normal(shape), 2)
    return blob > np.quantile(blob, 0.8), np.uint8(200 / (1 + np.exp(-40 * near)) + 20)


@pytest.mark.parametrize("seed", range(10))
def test_are_the_scores_that_the_library_gives_for_images_of_8_bits(seed):
    truth, image = blobs(seed)
    measures = sod.Smeasure(), sod.WeightedFmeasure(), sod.Emeasure(), sod.MAE()
    results = {}
    for measure in measures:
        measure.step(image, np.uint8(255 * truth))
        results |= measure.get_results()
    wanted = {
        "s_measure": results["sm"],
        "weighted_f": results["wfm"],
        "mean_e": results["em"]["curve"].mean(),
        "max_e": results["em"]["curve"].max(),
        "mae": results["mae"],
    }
    assert metrics.saliency_scores(truth, image / 255) == pytest.approx(wanted, abs=1e-9)
    curve = metrics.e_curve(truth, image / 255)
    np.testing.assert_allclose(curve, results["em"]["curve"], rtol=0, atol=1e-9)


def test_a_perfect_map():
    truth, _ = blobs(0)
    scores = metrics.saliency_scores(truth, truth.astype("float32"))
    n = truth.size
    wanted = {"s_measure": 1, "weighted_f": 1, "max_e": n / (n - 1), "mae": 0}
    assert {name: scores[name] for name in wanted} == pytest.approx(wanted, abs=1e-9)
    # at the last threshold, 0, everything is predicted
    assert scores["mean_e"] == pytest.approx((255 + 0.25) / 256 * n / (n - 1))


def test_an_empty_and_a_whole_truth():
    empty = np.zeros((4, 6), bool)
    silent, half = np.zeros((4, 6)), np.full((4, 6), 0.5)
    assert metrics.saliency_scores(empty, silent) == pytest.approx(
        {"s_measure": 1, "weighted_f": 0, "mean_e": 255 / 256 * 24 / 23, "max_e": 24 / 23, "mae": 0}
    )
    assert metrics.saliency_scores(empty, half)["s_measure"] == 0.5
    assert metrics.saliency_scores(~empty, half)["s_measure"] == 0.5
    assert metrics.saliency_scores(~empty, silent)["mae"] == 1
