import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.cases import read_cases
from transfuse_keras.evaluation.evaluate import evaluate, score_case
from transfuse_keras.evaluation.protocols import describe_protocol
from transfuse_keras.evaluation.results import score_samples
from transfuse_keras.evaluation.statistics import summarize
from transfuse_keras.files import write_table
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.metrics import dice, iou, nsd, pranet_scores
from transfuse_keras.metrics.calibration import count_reliability, measure_calibration
from transfuse_keras.tasks import Task, hip, polyp, prostate, skin

CLASSES = ("a", "b")


def masks(a, b):
    """0/1 (8, 8, 2): squares of the given sides in the upper left corner."""
    out = np.zeros((8, 8, 2), "uint8")
    for i, side in enumerate((a, b)):
        out[:side, :side, i] = 1
    return out


def summary_of(*cases, spacing=None):
    rows = []
    for i, (truth, prediction) in enumerate(cases):
        scores = score_case(truth, prediction, spacing, CLASSES)
        rows += [{"case": str(i), **row} for row in scores]
    return summarize(rows)


def test_a_model_that_predicts_nothing_looks_like_it():
    nothing = masks(0, 0)
    summary = summary_of((masks(4, 0), nothing), (masks(4, 4), nothing), (masks(4, 0), nothing))
    assert summary["mean"]["dice"] == 0  # not 1/3, though half of the masks of b are empty
    assert summary["classes"]["b"]["n"] == 1
    assert summary["classes"]["b"]["empty_kept_empty"] == 1
    assert math.isnan(summary["classes"]["a"]["empty_kept_empty"])
    assert math.isnan(summary["mean"]["hd_px"])
    assert summary["undefined"]["a"]["hd_px"] == 3
    assert summary["undefined"]["b"]["hd_px"] == 3


def test_means_worked_by_hand():
    summary = summary_of((masks(4, 2), masks(4, 4)), (masks(2, 0), masks(4, 4)), spacing=(1, 2))
    # Dice of squares of sides 2 and 4: 2 * 4 / (4 + 16)
    assert summary["classes"]["a"]["dice"] == pytest.approx((1 + 0.4) / 2)
    assert summary["classes"]["b"]["dice"] == pytest.approx(0.4)
    assert summary["mean"]["dice"] == pytest.approx((0.7 + 0.4) / 2)
    assert summary["classes"]["b"]["empty_kept_empty"] == 0
    # from the corner (3, 3) to the corner (1, 1): 2 rows of 1 mm, 2 columns of 2 mm
    assert summary["classes"]["b"]["hd_mm"] == pytest.approx(math.hypot(2, 4))
    assert summary["undefined"]["b"]["hd_mm"] == 1
    assert summary["n"] == 2


def brightness(size, channels=3, classes=3, gain=1 / 255):
    """A model whose map k is the brightness of channel k."""
    return Predictor(
        size, channels, classes, lambda images: np.float32(images[..., :classes] * gain)
    )


class VolumeSample:
    """A bright block of 8 x 8 mm in the middle slices of a volume, on pixels of 0.5 x 1 mm."""

    name = file_name = "volume"
    group, attributes = "patient", {}
    spacing, slices = (2.0, 0.5, 1.0), 6

    def read(self):
        masks = np.zeros((6, 32, 16, 1), "uint8")
        masks[2:4, 8:24, 4:12] = 1
        image = masks.astype("float32")
        image[0, 4, 8] = 1  # a speck
        return image, masks

    def save(self, path, masks):
        self.saved = path, masks


def test_a_volume_is_scored_in_three_dimensions(tmp_path):
    sample = VolumeSample()
    task = Task("blocks", ("block",), channels=1, field=(16.0, 16.0))
    model = brightness((32, 16), 1, 1, gain=1)
    result = evaluate(model, [sample], task, folder=tmp_path)
    (row,), ((cleaned,),) = result.rows, result.others.values()
    assert row["case"] == "volume" and 0.9 < row["dice"] < cleaned["dice"] == 1
    assert row["hd_mm"] > cleaned["hd_mm"] == 0  # the clean-up takes the speck away
    path, masks = sample.saved
    assert path == tmp_path / "volume.nii.gz" and masks.sum() == 2 * 16 * 8 + 1
    # a block one slice too thick is off by the distance of slices
    truth = sample.read()[1]
    thick = truth.copy()
    thick[4] = truth[3]
    (row,) = score_case(truth, thick, sample.spacing, ("block",))
    assert row["hd_mm"] == 2.0 and row["dice"] == pytest.approx(2 * 2 / (2 + 3))


def test_no_masks_are_left_where_a_volume_cannot_be_read(tmp_path):
    class Written(VolumeSample):
        def save(self, path, masks):
            path.touch()

    class Damaged(Written):
        def read(self):
            raise InputError("volume.nii: not a readable volume.")

    task, model = (
        Task("blocks", ("block",), channels=1, field=(16.0, 16.0)),
        brightness((32, 16), 1, 1),
    )
    with pytest.raises(InputError, match="not a readable"):
        score_samples(tmp_path, model, task, [Written(), Damaged()], {"block": 0.5})
    assert not any(tmp_path.iterdir())
    score_samples(tmp_path, model, task, [Written()], {"block": 0.5})
    assert [file.name for file in (tmp_path / "predictions").iterdir()] == ["volume.nii.gz"]


class StubSample:
    spacing, slices, save = (0.5, 0.5), None, None

    def __init__(self, image, masks, name="case"):
        self.image, self.masks, self.name, self.file_name = image, masks, name, name
        self.group, self.attributes = name, {}

    def read(self):
        return self.image, self.masks


def square_sample():
    masks = np.zeros((16, 16, 3), "uint8")
    masks[4:12, 4:12] = 1
    return StubSample(255 * masks, masks)


def test_of_a_sure_class_sure_components_are_scored_and_all_beside_them(tmp_path, caplog):
    """A lesion, and another spot as large and less bright."""
    caplog.set_level("INFO")
    image, truth = np.zeros((16, 16, 3), "uint8"), np.zeros((16, 16, 1), "uint8")
    image[2:6, 2:6], image[10:14, 10:14], truth[2:6, 2:6] = 255, 200, 1
    task, model = replace(skin, protocols=(), sure=("lesion",)), brightness((16, 16), classes=1)
    given = [StubSample(image, truth)], {"lesion": 0.5}
    found = score_samples(tmp_path, model, task, *given)
    assert found["mean"]["dice"] == 1 and "cases-uncut.csv" in found["protocol"]
    (uncut,) = read_cases(tmp_path / "cases-uncut.csv")
    assert uncut["dice"] == pytest.approx(2 / 3)
    assert "mean Dice 1.0000, with all 0.6667" in caplog.text
    every = score_samples(tmp_path, model, replace(task, sure=None), *given)
    assert every["mean"]["dice"] == pytest.approx(2 / 3)
    caplog.clear()
    score_samples(tmp_path, model, task, [StubSample(image, 0 * truth)], {"lesion": 0.5})
    assert "nan" not in caplog.text  # no truth shows a lesion


def test_cases_are_scored_at_their_own_size(tmp_path):
    result = evaluate(brightness((8, 8)), [square_sample()], hip)
    assert [row["class"] for row in result.rows] == list(hip.classes)
    assert all(row["case"] == "case" and row["dice"] > 0.9 for row in result.rows)
    assert all(row["hd_mm"] < 1.5 for row in result.rows) and not result.others
    write_table(tmp_path / "cases.csv", result.rows)
    with (tmp_path / "cases.csv").open() as file:
        dices = [float(row["dice"]) for row in csv.DictReader(file)]
    assert dices == [row["dice"] for row in result.rows]
    assert read_cases(tmp_path / "cases.csv") == result.rows


def grey_sample(seed=0, size=(24, 32)):
    """A blurred disc whose mask is where it is brighter than 100."""
    y, x = np.mgrid[: size[0], : size[1]]
    grey = 255 * np.exp(-((y - 12) ** 2 + (x - 14 - seed) ** 2) / 60)
    return StubSample(
        np.repeat(grey[..., None], 3, axis=2).astype("uint8"),
        (grey > 100)[..., None].astype("uint8"),
    )


def test_the_polyp_protocol_scores_as_pranet_does():
    sample = grey_sample()
    (row,) = evaluate(brightness((24, 32), 3, 1), [sample], polyp).rows
    maps = sample.image[..., 0] / np.float32(255)
    # by hand: the map scaled to 0-1, mean over 256 thresholds
    scaled = (maps - maps.min()) / (maps.max() - maps.min())
    truth = sample.masks[..., 0] > 0
    thresholds = np.linspace(1, 0, 256)
    wanted = np.mean(
        [dice(truth, scaled >= t) if truth[scaled >= t].any() else 0 for t in thresholds]
    )
    assert row["pranet_dice"] == pytest.approx(wanted, abs=1e-6)
    assert row["pranet_dice"] == pytest.approx(pranet_scores(truth, maps)["dice"], abs=1e-9)
    assert row["dice"] == dice(truth, maps >= 0.5) != row["pranet_dice"]
    assert {"s_measure", "weighted_f", "mae"} <= set(row)
    text = describe_protocol(polyp, {"polyp": 0.5}, "px", "")
    assert "256 thresholds" in text and "PySODMetrics" in text and "pixels" in text


def test_the_skin_protocol_scores_at_192_by_256_and_native():
    sample = grey_sample(size=(48, 64))
    (row,) = evaluate(brightness((192, 256), 3, 1), [sample], skin).rows
    assert row["iou_192x256"] > 0.7 and row["iou"] == pytest.approx(row["iou_192x256"], abs=0.1)
    assert row["accuracy_192x256"] > 0.97 and row["iou_192x256"] != row["iou"]


def test_the_skin_protocol_is_of_the_mirror_images_too():
    def find_left(images):
        left = np.arange(256) < 160
        return np.broadcast_to(left[:, None], (len(images), 192, 256, 1)).astype("float32")

    predictor = replace(brightness((192, 256), 3, 1), run=find_left)
    everything = StubSample(np.zeros((192, 256, 3), "uint8"), np.ones((192, 256, 1), "uint8"))
    for flips, share in (("", 160 / 256), ("h", 1)):
        (row,) = evaluate(predictor, [everything], skin, flips=flips).rows
        assert row["iou"] == row["iou_192x256"] == share


def test_prostate_is_averaged_over_mirror_images():
    seen = []

    def run(images):
        seen.append(images)
        return np.full((*images.shape[:3], 2), 0.3, "float32")

    class Sample(VolumeSample):
        def read(self):
            image, masks = super().read()
            return np.repeat(image, 2, axis=-1), np.repeat(masks, 2, axis=-1)

    assert prostate.flips == "hv"
    evaluate(Predictor((32, 16), 2, 2, run), [Sample()], prostate, flips=prostate.flips)
    assert sum(len(images) for images in seen) == 4 * 6
    assert "mean over mirror images (h, v)" in describe_protocol(
        prostate, {"PZ": 0.4, "TZ": 0.5}, "mm", "hv"
    )


def test_calibration_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    maps = rng.beta(0.5, 0.5, (64, 64, 2)).astype("float32")
    truth = (rng.random(maps.shape) < maps**2).astype("uint8")
    calibration = measure_calibration(count_reliability(maps, truth), ("a", "b"))
    for i, name in enumerate(("a", "b")):
        frequency, confidence = calibration_curve(
            truth[..., i].ravel(), maps[..., i].ravel(), n_bins=15
        )
        bins = calibration[name]["bins"]
        np.testing.assert_allclose([x["confidence"] for x in bins], confidence, rtol=1e-4)
        np.testing.assert_allclose([x["frequency"] for x in bins], frequency, rtol=1e-4)
        weights = np.array([x["count"] for x in bins]) / maps[..., i].size
        wanted = (weights * np.abs(confidence - frequency)).sum()
        assert calibration[name]["ece"] == pytest.approx(wanted, rel=1e-4)


def test_a_model_that_predicts_nothing_scores_zero_by_every_protocol():
    blind = Predictor((24, 32), 3, 1, lambda images: np.zeros((*images.shape[:3], 1), "float32"))
    for task in (polyp, skin):
        summary = summarize(evaluate(blind, [grey_sample()], task).rows)
        zeros = [k for k in summary["mean"] if "dice" in k or "iou" in k]
        assert zeros and all(summary["mean"][key] == 0 for key in zeros if "pranet" not in key)
        assert math.isnan(summary["mean"]["hd_mm"])
    assert iou(grey_sample().masks, 0 * grey_sample().masks) == 0


def test_nsd_is_scored_where_the_task_has_a_tolerance_and_the_spacing_is_known():
    truth, prediction = np.zeros((2, 20, 20, 1), "uint8")
    truth[4:10, 4:10], prediction[6:12, 4:10] = 1, 1  # two rows lower: 2 mm at 1 mm, 4 mm at 2 mm
    (row,) = score_case(truth, prediction, (1.0, 1.0), ("block",), 2.0)
    assert row["nsd"] == 1
    (row,) = score_case(truth, prediction, (2.0, 1.0), ("block",), 2.0)
    assert row["nsd"] == nsd(truth[..., 0], prediction[..., 0], 2.0, (2.0, 1.0)) < 1
    for spacing, tolerance in ((None, 2.0), ((1.0, 1.0), None)):
        (row,) = score_case(truth, prediction, spacing, ("block",), tolerance)
        assert "nsd" not in row
    task = replace(hip, tolerance=2.0)
    thresholds = dict.fromkeys(hip.classes, 0.5)
    assert "within 2 mm" in describe_protocol(task, thresholds, "mm", "")
    assert "nsd" not in describe_protocol(task, thresholds, "px", "")


def test_true_pixels_are_counted_once_where_predictions_overlap():
    """The left half is true, and predicted as both of the classes; the right half is nothing."""
    image, truth = np.zeros((8, 8, 3), "uint8"), np.zeros((8, 8, 2), "uint8")
    image[:, :4, :2], truth[:, :4, 0] = 255, 1
    result = evaluate(brightness((8, 8), classes=2), [StubSample(image, truth)], Task("t", CLASSES))
    assert result.confusion == [[32, 0, 0], [0, 32, 32], [0, 0, 0]]
    assert result.true_pixels == [32, 32, 0]
