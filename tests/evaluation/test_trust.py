"""Trust in single predictions, on images whose pixels are the probabilities of a stand-in model."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from data.files import save
from scipy.special import expit, logit
from scipy.stats import linregress, pearsonr, spearmanr

from transfuse_keras.data.samples import Sample
from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.evaluate import evaluate
from transfuse_keras.evaluation.report_files import check_metrics
from transfuse_keras.evaluation.results import score_samples
from transfuse_keras.evaluation.trust import TrustCheck, fit_line, fit_trust
from transfuse_keras.evaluation.validation import count_validation
from transfuse_keras.files import read_table, write_json
from transfuse_keras.inference import predict_files as module
from transfuse_keras.inference.predict_files import predict_files
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.runs.metadata import ModelFacts, compose_description, write_metadata
from transfuse_keras.runs.trust import Trust, read_trust, write_trust
from transfuse_keras.tasks import Task

SIZE, TEMPERATURE = (48, 48), 2.0
TASK = Task("blob", ("blob",), channels=1)
PREDICTOR = Predictor(SIZE, 1, 1, lambda images: np.asarray(images, "float32") / 255)
THRESHOLDS = {"blob": 0.5}


def draw(number):
    """uint8 (H, W, 1) of which each value / 255 is a probability, less sure for each number; and
    a truth drawn from the probabilities at temperature 2."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = np.hypot(rows - 24, columns - 20) - rng.uniform(8, 16)
    image = np.round(255 * expit(-distance / rng.uniform(0.3, 3)))[..., None]
    image = np.clip(image, 1, 254).astype("uint8")
    p = expit(logit(image / 255) / TEMPERATURE)
    return image, (rng.random(p.shape) < p).astype("uint8")


def samples(numbers):
    return [Sample(f"s{i}", f"{i}", None, lambda i=i: draw(i)) for i in numbers]


@pytest.fixture(scope="module")
def trust():
    validation = count_validation(PREDICTOR, samples(range(40)), TASK, (0.5,))
    return fit_trust(validation, samples(range(100, 130)), THRESHOLDS)


def test_it_finds_the_temperature_and_a_dice_that_fits_other_cases(trust, tmp_path):
    assert trust.temperature["blob"] == pytest.approx(TEMPERATURE, rel=0.1)
    found = score_samples(
        tmp_path, PREDICTOR, TASK, samples(range(200, 230)), THRESHOLDS, "", trust
    )
    check_metrics(found)
    quality = found["trust"]["quality"]["blob"]
    rows = read_table(tmp_path / "quality.csv")
    true, predicted = ([float(row[x]) for row in rows] for x in ("dice", "predicted_dice"))
    scored = {row["case"]: float(row["dice"]) for row in read_table(tmp_path / "cases.csv")}
    assert {row["case"]: float(row["dice"]) for row in rows} == scored and quality["cases"] == 30
    assert quality["correlation"] == pytest.approx(pearsonr(true, predicted)[0])
    assert quality["rank_correlation"] == pytest.approx(spearmanr(true, predicted)[0])
    assert quality["mean_error"] == pytest.approx(np.abs(np.subtract(true, predicted)).mean())
    # truths are drawn from the very probabilities, so little else is left
    assert quality["correlation"] > 0.95 and quality["mean_error"] < 0.02
    assert found["trust"]["ece"]["blob"] < found["calibration"]["blob"]["ece"] / 3
    assert not found["trust"]["unlike_training"]


def test_an_image_unlike_those_of_the_training_is_named(trust):
    (image, truth), case = draw(7), Sample("dark", "0", None, None)
    check = TrustCheck(trust, TASK.classes)
    maps = np.repeat(image, 2, axis=0) / 255
    masks = maps >= 0.5
    check.add(case, np.repeat(image, 2, axis=0), np.repeat(truth, 2, axis=0), maps, masks)
    (phrases,) = check.summarize()["unlike_training"].values()
    assert any("height / width" in phrase for phrase in phrases)


def test_the_line_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    expected = rng.random(9)
    true = 0.1 + 0.7 * expected + 0.05 * rng.standard_normal(9)
    theirs = linregress(expected, true)
    found = fit_line(list(expected), list(true))
    assert found == pytest.approx((theirs.slope, theirs.intercept))
    assert fit_line(list(expected), list(1 - expected)) == pytest.approx((0, 1 - expected.mean()))
    assert fit_line([0.8, 0.9], [0.7, 0.6]) == pytest.approx((1, -0.2))
    assert fit_line([], []) == (1, 0)


def test_a_run_keeps_it(trust, tmp_path):
    write_json(tmp_path / "config.json", {"schema": 1, "task": asdict(TASK)})
    assert read_trust(tmp_path) is None
    write_trust(tmp_path, trust)
    assert read_trust(tmp_path) == trust
    (tmp_path / "trust.json").write_text('{"cases": 3}')
    with pytest.raises(InputError, match="trust.json"):
        read_trust(tmp_path)


def test_an_exported_file_keeps_it(trust, tmp_path):
    model = SimpleNamespace(
        variant="Ti", input_shape=(None, *SIZE, 1), normalization=((0.5,), (1,))
    )
    for kept in (trust, None):
        origin = replace(ModelFacts(TASK, THRESHOLDS), trust=kept)
        about = compose_description(model, origin, "litert", "none")
        write_metadata(tmp_path / "model.tflite", json.loads(json.dumps(about)), None)
        assert read_trust(tmp_path / "model.tflite") == kept


def test_predict_lists_the_least_certain_first(tmp_path, monkeypatch, caplog):
    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    write_json(run / "config.json", {"schema": 1, "task": asdict(TASK)})
    steep, flat, wide = (np.zeros((*SIZE, 1), "uint8") for _ in range(3))
    steep[8:24, 8:24], flat[8:24, 8:24] = 255, 153  # probabilities 1 and 0.6
    wide = np.concatenate([steep, steep], axis=1)
    for name, image in (("a", steep), ("b", flat), ("c", wide)):
        save(tmp_path / "in" / f"{name}.png", image)
    monkeypatch.setattr(module, "load_predictor", lambda *_: PREDICTOR)
    assert predict_files(run, [tmp_path / "in"], out) == 0
    assert not (out / "review.csv").exists()
    ranges = {"height / width": (0.9, 1.1)}
    write_trust(run, Trust(9, {"blob": 1.0}, {"blob": (0.5, 0.25)}, 0.65, ranges))
    assert predict_files(run, [tmp_path / "in"], out) == 0
    rows = read_table(out / "review.csv")
    assert [(row["name"], row["look"]) for row in rows] == [("c", "yes"), ("b", "yes"), ("a", "")]
    # 256 pixels of 0.6: 2 * 153.6 / (256 + 153.6) = 0.75, on the line 0.25 + 0.75 / 2
    dice = {row["name"]: float(row["predicted_dice"]) for row in rows}
    assert (dice["a"], dice["b"]) == pytest.approx((0.75, 0.625), abs=1e-3)
    assert "height / width is 0.5" in rows[0]["unlike_training"]
    assert "look at 2 of 3" in caplog.text and "review.csv" in caplog.text
    caplog.clear()
    assert predict_files(run, [tmp_path / "in" / "a.png"], out) == 0
    assert "none" in caplog.text and "look at 0" not in caplog.text


def test_pixels_that_the_task_leaves_out_do_not_count(trust):
    """The other half of the truth would halve the Dice."""

    def read():
        image, truth = draw(3)
        truth = (image >= 128).astype("uint8")
        truth[:, 24:] = 255
        return image, truth

    check = TrustCheck(trust, TASK.classes)
    evaluate(PREDICTOR, [Sample("s", "s", None, read)], TASK, visit=check.add)
    assert check.rows[0]["dice"] == 1
