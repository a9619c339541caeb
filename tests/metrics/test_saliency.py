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


def library_scores(truth, probabilities):
    """What PySODMetrics gives for a map of floats, stretched before."""
    low, high = probabilities.min(), probabilities.max()
    p = (probabilities - low) / (high - low) if high > low else np.float64(probabilities)
    measures = sod.Smeasure(), sod.WeightedFmeasure(), sod.Emeasure(), sod.MAE()
    results = {}
    for measure in measures:
        measure.step(p, truth, normalize=False)
        results |= measure.get_results()
    curve = results["em"]["curve"]
    return {
        **{"s_measure": results["sm"], "weighted_f": results["wfm"], "mae": results["mae"]},
        **{"mean_e": curve.mean(), "max_e": curve.max()},
    }


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the library
@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (5, 7), (37, 52)])
def test_agree_with_the_library_where_masks_are_odd(shape):
    """A pixel in a corner, lines at borders, whole and empty truths; constant and noisy maps."""
    rng = np.random.default_rng(shape)
    truths = {name: np.zeros(shape, bool) for name in ("empty", "corner", "far", "row", "column")}
    truths["corner"][0, 0] = truths["far"][-1, -1] = True
    truths["row"][-1] = truths["column"][:, -1] = True
    truths |= {f"not {name}": ~truth for name, truth in truths.items()}
    maps = [rng.random(shape), np.round(rng.random(shape)), np.full(shape, 0.3), np.zeros(shape)]
    for name, truth in truths.items():
        for number, probabilities in enumerate(maps):
            wanted = library_scores(truth, probabilities)
            found = metrics.saliency_scores(truth, probabilities)
            if np.isnan(wanted["s_measure"]):  # a quarter without a pixel, whose weight is 0
                assert 0 <= found.pop("s_measure") <= 1
                del wanted["s_measure"]
            assert found == pytest.approx(wanted, abs=1e-9), (name, number)


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
