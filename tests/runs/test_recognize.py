"""A run knows the images it was trained on, wherever their files lie now."""

import shutil

import cv2
import numpy as np
import pytest
from data.files import disc, hip_folder, save
from data.test_copies import scene

from transfuse_keras.data.copies import share_bits, take_fingerprint, take_fingerprints
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.resize import resize_image
from transfuse_keras.data.splits import find_splits
from transfuse_keras.data.value_range import fix_ranges
from transfuse_keras.errors import InputError
from transfuse_keras.evaluation.evaluate_model import (
    choose_for_all,
    choose_samples,
    validation_samples,
)
from transfuse_keras.files import read_json, read_table, write_json, write_table
from transfuse_keras.runs.fitting import known_together
from transfuse_keras.runs.folder import run_task, write_split
from transfuse_keras.runs.metadata import keep_ranges
from transfuse_keras.runs.samples import own_samples, recognize, refuse_other_pixels
from transfuse_keras.runs.settings import Settings, describe_settings, plain_settings
from transfuse_keras.tasks import Recipe, Task, hip

task = Task("t", ("lesion",))
MASK = cv2.resize(disc(), (128, 96), interpolation=cv2.INTER_NEAREST)


def body(seed):
    """A radiograph of a chest, drawn: two lungs in a body, each patient's a little different."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :128]
    picture = 60 + 0.4 * x + 0.3 * y
    for *shape, grey in ((64, 52, 56, 52, 110), (40, 48, 15, 30, -110), (88, 48, 15, 30, -110)):
        left, top, width, height = shape + rng.normal(0, 1.5, 4)
        outside = ((x - left) / width) ** 2 + ((y - top) / height) ** 2 - 1
        picture += grey / (1 + np.exp(np.clip(12 * outside, -50, 50)))
    texture = cv2.GaussianBlur(rng.normal(size=picture.shape), (0, 0), 4)
    return np.clip(picture + 8 * texture / texture.std(), 0, 255).astype("uint8")


def share_looks(*numbers):
    """How alike two bodies are by what older runs keep."""
    prints = [take_fingerprint(resize_image(body(i)[..., None], (64, 64))[None]) for i in numbers]
    return share_bits(*(found.dhash for found in prints))


def write(folder, numbers, name="x{}", draw=scene):
    for i in numbers:
        save(folder / "images" / f"{name.format(i)}.png", draw(i))
        save(folder / "masks" / f"{name.format(i)}.png", MASK)
    return folder


def leave_run(run, data, task=task, fold=None):
    """What a training leaves that recognition needs."""
    run.mkdir()
    task, splits = fix_ranges(task, find_splits(task, data, fold=fold))
    settings = Settings(task, str(data), Recipe("S", (64, 64)), fold=fold)
    write_json(run / "config.json", describe_settings(settings))
    samples = sum(splits.values(), [])
    write_split(run / "split.csv", splits, take_fingerprints(samples, size=(64, 64)))
    return run


@pytest.fixture
def trained(tmp_path):
    """(run, data) of a training."""
    data = write(tmp_path / "data", range(20))
    return leave_run(tmp_path / "run", data), data


@pytest.fixture
def trained_on_bodies(tmp_path):
    """The run of a training on pictures of bodies."""
    return leave_run(tmp_path / "run", write(tmp_path / "data", range(20), draw=body))


def names(samples):
    return {sample.name for sample in samples}


def parts(run):
    found = {}
    for row in read_table(run / "split.csv"):
        found.setdefault(row["split"], set()).add(row["sample"])
    return found


def test_a_moved_folder_is_scored_on_the_test_side_only(trained, tmp_path, caplog):
    run, data = trained
    at_home, _ = choose_samples(task, data, run, None)
    assert names(at_home) == names(own_samples(task, run, "test")) == parts(run)["test"]
    data.rename(tmp_path / "moved")
    samples, count = choose_samples(task, tmp_path / "moved", run, None)
    assert names(samples) == parts(run)["test"] and count == 0
    used = 20 - len(samples)
    assert f"{used} of 20 images " in caplog.text


def test_all_scores_everything_and_counts(trained, tmp_path):
    run, data = trained
    for folder in (data, shutil.copytree(data, tmp_path / "copy"), None):
        samples, count = choose_samples(task, folder, run, None, everything=True)
        assert len(samples) == 20 and count == 20 - len(parts(run)["test"])


def test_images_are_known_under_other_names_and_kinds_of_files(trained, tmp_path):
    run, _ = trained
    for i in range(20):
        path = tmp_path / "other" / "images" / f"case_{i + 7}.bmp"
        save(path, scene(i))
        save(tmp_path / "other" / "masks" / f"case_{i + 7}.png", MASK)
    samples, _ = choose_samples(task, tmp_path / "other", run, None)
    assert {f"x{int(x.name[5:]) - 7}" for x in samples} == parts(run)["test"]


def test_resized_images_are_known_by_name_and_look(trained, tmp_path):
    run, _ = trained
    for i in range(20):
        small = cv2.resize(scene(i), None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
        save(tmp_path / "small" / "images" / f"x{i}.png", small)
        save(tmp_path / "small" / "masks" / f"x{i}.png", np.uint8(small[..., 0] > 128))
    samples, _ = choose_samples(task, tmp_path / "small", run, None)
    assert names(samples) == parts(run)["test"]


@pytest.mark.parametrize("copies", [20, 4])
def test_copies_of_other_names_and_pixels_are_warned_of(trained, tmp_path, caplog, copies):
    run, _ = trained
    for i in range(20):
        path = tmp_path / "copies" / "images" / f"c{i}.png"
        picture = scene(i if i < copies else 100 + i)
        save(path, cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA))
        save(tmp_path / "copies" / "masks" / f"c{i}.png", np.uint8(cv2.imread(str(path), 0) > 128))
    samples, count = choose_samples(task, tmp_path / "copies", run, None)
    assert len(samples) == 20 and count == 0
    assert ("optimistic" in caplog.text) == (copies == 20)


def test_other_images_of_the_same_names_are_new(trained, tmp_path):
    run, _ = trained
    other = write(tmp_path / "other", range(20))
    for i in range(20):
        save(other / "images" / f"x{i}.png", scene(100 + i))
    samples, count = choose_samples(task, other, run, None)
    assert len(samples) == 20 and count == 0


def test_other_patients_who_look_alike_are_new_under_the_same_names(trained_on_bodies, tmp_path):
    other = write(tmp_path / "other", range(20), draw=lambda i: body(100 + i))
    assert np.mean([share_looks(i, 100 + i) for i in range(20)]) > 0.88  # so alike are they
    samples, count = choose_samples(task, other, trained_on_bodies, None)
    assert len(samples) == 20 and count == 0


@pytest.mark.parametrize("copy", ["half.jpg", "16-bit.png"])
def test_patients_who_look_alike_are_known_in_other_kinds_of_files(
    trained_on_bodies, tmp_path, copy
):
    for i in range(20):
        half = cv2.resize(body(i), (64, 48), interpolation=cv2.INTER_AREA)
        picture = half if "half" in copy else body(i).astype("uint16") * 257
        mask = cv2.resize(MASK, picture.shape[::-1], interpolation=cv2.INTER_NEAREST)
        save(tmp_path / "copies" / "images" / f"x{i}.{copy[-3:]}", picture)
        save(tmp_path / "copies" / "masks" / f"x{i}.png", mask)
    samples, _ = choose_samples(task, tmp_path / "copies", trained_on_bodies, None)
    assert names(samples) == parts(trained_on_bodies)["test"]


def test_an_older_run_says_where_it_cannot_tell(trained_on_bodies, tmp_path, caplog):
    rows = read_table(trained_on_bodies / "split.csv")
    older = [{key: row[key] for key in row if key != "details"} for row in rows]
    write_table(trained_on_bodies / "split.csv", older)
    other = write(tmp_path / "other", range(20), draw=lambda i: body(100 + i))
    samples, count = choose_samples(task, other, trained_on_bodies, None)
    alike = sum(0.85 < share_looks(i, 100 + i) < 0.98 for i in range(20))
    assert len(samples) == 20 and count == 0 and alike > 5
    assert f"of {alike} images" in caplog.text and "split.csv" in caplog.text
    samples, _ = choose_samples(task, tmp_path / "data", trained_on_bodies, None)
    assert names(samples) == parts(trained_on_bodies)["test"]


@pytest.mark.parametrize("everything", [False, True])
def test_folds_know_deep_images_each_with_its_own_range(tmp_path, everything):
    def deep(i):
        return body(i).astype("uint16") * 8 + 300 + 10 * i

    of_grey = Task("t", ("lesion",), channels=1)
    data = write(tmp_path / "data", range(20), draw=deep)
    runs = [leave_run(tmp_path / f"fold-{k}", data, of_grey, (k, 2)) for k in range(2)]
    moved = write(tmp_path / "moved", range(20), "y{}", draw=deep)
    known = known_together(runs)
    assert len({run_task(run).value_range for run in runs}) == 2
    together = keep_ranges(known[0], known), moved, runs, None, everything, None, None
    if everything:
        assert choose_for_all(*together)[1] == 20
    else:
        with pytest.raises(InputError, match="--all"):
            choose_for_all(*together)


def test_a_run_on_deep_images_takes_arrays_for_new(tmp_path):
    data = write(tmp_path / "data", range(20), draw=lambda i: body(i).astype("uint16") * 8)
    run = leave_run(tmp_path / "run", data, Task("t", ("lesion",), channels=1))
    (tmp_path / "arrays").mkdir()
    for kind, pictures in (("data", [body(30)[..., None]]), ("mask", [MASK])):
        np.save(tmp_path / "arrays" / f"{kind}_test.npy", np.stack(pictures))
    samples, count = choose_samples(run_task(run), tmp_path / "arrays", run, None)
    assert names(samples) == {"test-0"} and count == 0


def test_new_images_among_those_trained_on_are_what_is_scored(trained, tmp_path):
    run, data = trained
    train = sorted(int(name[1:]) for name in parts(run)["train"])
    mixed = write(write(tmp_path / "mixed", train[:4]), range(50, 53), "new{}")
    samples, _ = choose_samples(task, mixed, run, None)
    assert names(samples) == {"new50", "new51", "new52"}
    with pytest.raises(InputError, match="--all"):
        choose_samples(task, write(tmp_path / "seen", train), run, None)


def test_a_run_without_digests_goes_by_name_where_all_names_are_there(trained, tmp_path, caplog):
    run, data = trained
    rows = [
        {k: row[k] for k in ("split", "group", "sample")} for row in read_table(run / "split.csv")
    ]
    write_table(run / "split.csv", rows)
    copy = shutil.copytree(data, tmp_path / "copy")
    samples, _ = choose_samples(task, copy, run, None)
    assert names(samples) == parts(run)["test"]
    (copy / "images" / "x3.png").unlink()
    (copy / "masks" / "x3.png").unlink()
    assert recognize(task, run, find_samples(task, copy).samples) is None
    samples, count = choose_samples(task, copy, run, None)
    assert len(samples) == 19 and count is None and "split.csv" in caplog.text


def test_other_images_in_the_place_of_the_runs_own_are_noticed(trained, caplog):
    """The same path and names, but every picture is that of another name now."""
    run, data = trained
    tested = parts(run)["test"]
    for i in range(20):
        save(data / "images" / f"x{i}.png", scene((i + 1) % 20))
    samples, count = choose_samples(task, data, run, None)
    assert {f"x{(int(x.name[1:]) + 1) % 20}" for x in samples} == tested and count == 0
    assert str(data) in caplog.text and "by its pixels" in caplog.text


def test_lost_test_images_are_told(trained, caplog):
    run, data = trained
    lost = min(parts(run)["test"])
    (data / "images" / f"{lost}.png").unlink()
    (data / "masks" / f"{lost}.png").unlink()
    samples, _ = choose_samples(task, data, run, None)
    assert names(samples) == parts(run)["test"] - {lost} and lost in caplog.text


@pytest.mark.parametrize("moved", [False, True])
def test_validation_images_that_are_scored_count_as_used(trained, tmp_path, moved):
    """As where a data set names no test split: they have chosen the best epoch."""
    run, data = trained
    rows = [row for row in read_table(run / "split.csv") if row["split"] != "test"]
    both = [row for row in rows if row["split"] == "val"]
    write_table(run / "split.csv", rows + [{**row, "split": "test"} for row in both])
    if moved:
        data = data.rename(tmp_path / "moved")
    samples, count = choose_samples(task, data, run, None)
    assert names(samples) == {row["sample"] for row in both} and count == len(both) > 0


def test_phantoms_of_a_fold_are_those_of_the_fold(tmp_path):
    settings = Settings(hip, fold=(1, 5))
    write_json(tmp_path / "config.json", plain_settings(settings))
    wanted = find_splits(hip, fold=(1, 5))["test"]
    assert names(choose_samples(hip, None, tmp_path, None)[0]) == names(wanted)


def test_all_of_the_own_data_has_the_patients_that_the_run_was_given(trained):
    run, data = trained
    config = read_json(run / "config.json")
    write_json(run / "config.json", {**config, "group": r"x\d"})
    samples, _ = choose_samples(task, data, run, None, everything=True)
    assert len({sample.group for sample in samples}) == 10


def test_groups_of_the_run_are_kept(trained, tmp_path):
    run, _ = trained
    rows = read_table(run / "split.csv")
    write_table(run / "split.csv", [{**row, "group": "anna"} for row in rows])
    assert {sample.group for sample in own_samples(task, run, "test")} == {"anna"}


def test_without_a_run_the_data_decides(tmp_path):
    data = hip_folder(tmp_path)
    samples, count = choose_samples(Task("t", ("a", "b", "c")), data, None, None)
    assert len(samples) == 12 and count is None


def test_a_run_without_validation_has_nothing_to_choose_a_threshold_by(tmp_path):
    for validation in (True, False):
        settings = Settings(hip, validation=validation)
        write_json(tmp_path / "config.json", plain_settings(settings))
        if validation:
            assert len(validation_samples(hip, tmp_path)) == hip.phantom_recipe.counts[1]
    with pytest.raises(InputError, match="--val none"):
        validation_samples(hip, tmp_path)


def test_an_image_that_was_replaced_under_its_name_ends_a_resume(trained):
    run, data = trained
    found = [*find_samples(task, data).samples]
    prints = take_fingerprints(found, size=(64, 64))
    refuse_other_pixels(run, prints)
    save(data / "images" / "x3.png", scene(77))
    with pytest.raises(InputError, match="the image x3 is not the one that the run began with"):
        refuse_other_pixels(run, take_fingerprints(found, size=(64, 64)))


@pytest.fixture
def of_patients(tmp_path):
    """The run of a training on two images of each of 12 patients, p00 to p11."""
    data = tmp_path / "data"
    for patient in range(12):
        write(data, (2 * patient, 2 * patient + 1), f"p{patient:02}_s{{}}")
    return leave_run(tmp_path / "run", data)


def group_parts(run):
    return {row["group"]: row["split"] for row in read_table(run / "split.csv")}


def test_other_images_of_the_patients_of_a_run_are_not_new(of_patients, tmp_path, caplog):
    """One image of each patient is the run's, one is not; the patient p77 is not."""
    caplog.set_level("INFO")
    split = group_parts(of_patients)
    other = write(tmp_path / "other", (77, 78), "p77_s{}")
    for patient in range(12):
        write(other, (2 * patient, 100 + patient), f"p{patient:02}_s{{}}")
    samples, count = choose_samples(task, other, of_patients, None)
    tested = [group for group, part in split.items() if part == "test"]
    assert sorted(x.group for x in samples) == sorted([*tested, *tested, "p77", "p77"])
    used = 12 - len(tested)
    assert count == 0
    assert f"{used} of 26 images were used in training, {used} more are of the same" in caplog.text
    samples, count = choose_samples(task, other, of_patients, None, everything=True)
    labels = {x.group: x.attributes["split of the run"] for x in samples}
    assert labels == {**split, "p77": "not of the run"} and count == 2 * used


def test_patients_of_one_name_elsewhere_are_warned_of(of_patients, tmp_path, caplog):
    other = tmp_path / "other"
    for patient in range(12):
        write(other, (100 + 2 * patient, 101 + 2 * patient), f"p{patient:02}_s{{}}")
    samples, count = choose_samples(task, other, of_patients, None)
    assert len(samples) == 24 and count == 0
    used = 2 * sum(part != "test" for part in group_parts(of_patients).values())
    assert f"{used} images are of patients named as some that the run was trained" in caplog.text


def test_how_images_are_put_to_patients_and_whether_spacing_is_known_is_told(tmp_path, caplog):
    """A table that names two of three images and the spacing of one."""
    caplog.set_level("INFO")
    data = write(tmp_path / "data", range(3))
    (data / "spacing.csv").write_text("stem,mm\nx0,0.5\n")
    (tmp_path / "patients.csv").write_text("stem,group\nx0,anna\nx1,anna\n")
    choose_samples(task, data, None, None, group=str(tmp_path / "patients.csv"))
    assert "1 that it does not list count for themselves; 2 patients" in caplog.text
    assert "spacing of 2 of 3 samples is unknown: distances are in pixels" in caplog.text
