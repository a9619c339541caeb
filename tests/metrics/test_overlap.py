import numpy as np
import pytest
from metrics.masks import all_pairs, square

from transfuse_keras import metrics

EMPTY = np.zeros((12, 16), bool)
SCORES = (
    metrics.dice,
    metrics.iou,
    metrics.pixel_accuracy,
    metrics.precision,
    metrics.recall,
)


def test_worked_by_hand():
    a, b = square(2, 2), square(2, 4, side=2)  # 16 and 4 pixels, 4 in common
    b[2:4, 6:8] = True  # 4 more outside
    assert metrics.dice(a, b) == 2 * 4 / 24
    assert metrics.iou(a, b) == 4 / 20
    assert metrics.pixel_accuracy(a, b) == 1 - 16 / 192
    assert metrics.precision(a, b) == 4 / 8
    assert metrics.recall(a, b) == 4 / 16
    assert [score(a, a) for score in SCORES] == [1] * 5
    assert [score(a, square(7, 9)) for score in SCORES] == [0, 0, 1 - 32 / 192, 0, 0]


def test_empty_masks():
    a = square(2, 2)
    assert [score(EMPTY, EMPTY) for score in SCORES] == [1] * 5
    for pair in [(a, EMPTY), (EMPTY, a)]:
        assert [score(*pair) for score in SCORES] == [0, 0, 1 - 16 / 192, 0, 0]


@pytest.mark.parametrize("score", SCORES)
def test_shapes_must_agree(score):
    with pytest.raises(ValueError, match="differ in shape"):
        score(EMPTY, EMPTY[1:])


def test_any_rank():
    a, b = square(2, 2), square(2, 4)
    for score in SCORES:
        assert score(a.ravel(), b.ravel()) == score(a, b) == score(a[None, None], b[None, None])


def test_agrees_with_scikit_learn():
    sk = pytest.importorskip("sklearn.metrics")
    for name, truth, prediction, _ in all_pairs():
        a, b = truth.ravel(), prediction.ravel()
        rule = {"zero_division": float(not a.any() and not b.any())}
        wanted = [
            sk.f1_score(a, b, **rule),
            sk.jaccard_score(a, b, **rule),
            sk.accuracy_score(a, b),
            sk.precision_score(a, b, **rule),
            sk.recall_score(a, b, **rule),
        ]
        got = [score(truth, prediction) for score in SCORES]
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6, err_msg=name)


def test_agrees_with_medpy_where_a_mask_is_not_empty():
    binary = pytest.importorskip("medpy.metric.binary")
    for name, truth, prediction, _ in all_pairs():
        if truth.any() or prediction.any():
            wanted = [score(prediction, truth) for score in (binary.dc, binary.jc)]
            got = [metrics.dice(truth, prediction), metrics.iou(truth, prediction)]
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("score", [*SCORES, metrics.hd, metrics.assd])
@pytest.mark.parametrize("other", [0.01, 255, -1, np.nan])
def test_what_is_no_mask_is_refused(score, other):
    a = square(2, 2)
    assert score(a.astype("float32"), a.tolist()) == score(a, a.astype("uint8")) == score(a, a)
    with pytest.raises(ValueError, match=f"0 and 1 alone, not {other}"):
        score(a, np.where(a, other, 0))
