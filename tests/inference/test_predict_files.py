import re
import shutil
import weakref
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from data.files import decathlon_folder, picture, save, series_folder
from pydicom.data import get_testdata_file
from scipy import ndimage

from transfuse_keras.data.volumes import read_slices
from transfuse_keras.errors import InputError
from transfuse_keras.files import read_json, write_json
from transfuse_keras.inference import predict_files as module
from transfuse_keras.inference.inputs import find_inputs
from transfuse_keras.inference.predict_files import predict_files
from transfuse_keras.inference.predictor import Predictor
from transfuse_keras.metrics import dice
from transfuse_keras.tasks import Task, hip, polyp, prostate

SIZE = (16, 32)
ZONES = Task("zones", ("dark", "bright"), channels=1, exclusive=True)


def thirds(images):
    """Maps of the RGB channels, 1 where a channel is bright."""
    return images.astype("float32") / 255


def zones(images):
    """Exclusive maps: dark and bright; 0.4 for both in between."""
    values = images.astype("float32")
    return np.concatenate([np.where(values < 85, 1, 0.4), np.where(values > 170, 1, 0.39)], -1)


def tissue(images):
    """A map of each channel of z-scored slices: where it is far above its mean."""
    return 1 / (1 + np.exp(1.5 - images))


STUBS = {
    "hip": (hip, Predictor(SIZE, 3, 3, thirds)),
    "polyp": (polyp, Predictor(SIZE, 3, 1, lambda images: thirds(images)[..., :1])),
    "zones": (ZONES, Predictor(SIZE, 1, 2, zones)),
    "prostate": (prostate, Predictor((128, 128), 2, 2, tissue)),
}


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """A function from the name of a stub to its run folder."""

    def make(name):
        task, predictor = STUBS[name]
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        write_json(folder / "config.json", {"schema": 1, "task": asdict(task)})
        monkeypatch.setattr(module, "load_predictor", lambda *_: predictor)
        return folder

    return make


def blocks(size=(40, 60)):
    """RGB: red above, green below, blue on the right quarter."""
    image = np.zeros((*size, 3), "uint8")
    image[: size[0] // 2, :, 0] = 255
    image[size[0] // 2 :, :, 1] = 255
    image[:, 3 * size[1] // 4 :, 2] = 255
    return image


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_overlapping_classes_get_a_mask_each(run_folder, tmp_path):
    image = blocks()
    save(tmp_path / "in" / "a.png", image)
    save(tmp_path / "in" / "b.JPG", image[:20])
    (tmp_path / "in" / ".hidden.png").write_text("no image")
    (tmp_path / "in" / "deeper.png").mkdir()
    out = tmp_path / "new" / "out"
    assert predict_files(run_folder("hip"), [tmp_path / "in"], out) == 0
    suffixes = [*(f"_{name}.png" for name in hip.classes), "_overlay.png"]
    assert names(out) == {stem + suffix for stem in "ab" for suffix in suffixes}
    for i, name in enumerate(hip.classes):
        np.testing.assert_array_equal(read(out / f"a_{name}.png"), image[..., i])
    overlay = read(out / "a_overlay.png")[..., ::-1]
    assert tuple(overlay[19, 5]) == (0xE6, 0x9F, 0x00)  # where red, the first class, ends
    assert tuple(overlay[10, 5]) == tuple(image[10, 5])
    assert read(out / "b_pelvis.png").shape == (20, 60)


def test_a_single_class_gets_one_mask_however_often_it_is_given(run_folder, tmp_path, monkeypatch):
    save(tmp_path / "in" / "a.png", blocks())
    monkeypatch.chdir(tmp_path)
    inputs = ["in", "in/a.png", tmp_path / "in" / "a.png", "in/../in/*.png"]
    assert predict_files(run_folder("polyp"), inputs, "out", overlays=False) == 0
    assert names(tmp_path / "out") == {"a.png"}
    np.testing.assert_array_equal(read(tmp_path / "out" / "a.png"), blocks()[..., 0])


def test_of_the_sure_classes_of_a_run_sure_components_are_written(run_folder, tmp_path):
    image = np.zeros((32, 48, 3), "uint8")
    image[4:14, 4:14], image[18:28, 30:44] = 250, 200
    save(tmp_path / "a.png", image)
    run, out = run_folder("polyp"), tmp_path / "out"
    predict_files(run, [tmp_path / "a.png"], out, overlays=False)
    every = read(out / "a.png") > 0
    assert every[8, 8] and every[23, 37]
    write_json(run / "components.json", {"sure": ["polyp"]})
    predict_files(run, [tmp_path / "a.png"], out, overlays=False)
    sure = read(out / "a.png") > 0
    assert not sure[16:].any() and (sure[:16] == every[:16]).all()
    task = replace(polyp, sure=())  # a task that is given decides
    predict_files(run, [tmp_path / "a.png"], out, overlays=False, task=task)
    np.testing.assert_array_equal(read(out / "a.png") > 0, every)


def test_the_truth_of_a_data_set_is_not_overwritten(run_folder, tmp_path):
    save(tmp_path / "images" / "a.png", blocks())
    save(tmp_path / "masks" / "a.png", blocks()[..., 0])
    run = run_folder("polyp")
    with pytest.raises(InputError, match="a.png: is there already, and may be the truth of"):
        predict_files(run, [tmp_path / "images"], tmp_path / "masks")
    np.testing.assert_array_equal(read(tmp_path / "masks" / "a.png"), blocks()[..., 0])
    (tmp_path / "masks" / "a.png").unlink()
    for _ in range(2):  # what was predicted before is replaced
        assert predict_files(run, [tmp_path / "images"], tmp_path / "masks") == 0


def test_exclusive_classes_get_a_label_map(run_folder, tmp_path):
    image = np.repeat(np.uint8([0, 128, 255]), 20)[None].repeat(30, axis=0)
    save(tmp_path / "a.tif", image)
    run, out = run_folder("zones"), tmp_path / "out"
    predict_files(run / "model.keras", [tmp_path / "a.tif"], out, overlays=False)
    labels = read(out / "a.png")
    assert labels.shape == (30, 60)
    for label, columns in ((1, slice(18)), (0, slice(22, 38)), (2, slice(42, None))):
        assert (labels[:, columns] == label).all()
    # thresholds: those given, else the run's, else 0.5
    write_json(run / "threshold.json", {"thresholds": {"dark": 0.3, "bright": 0.9}})
    predict_files(run, [tmp_path / "a.tif"], out, overlays=False)
    assert (read(out / "a.png")[:, 22:38] == 1).all()
    predict_files(run, [tmp_path / "a.tif"], out, threshold=(0.45, 0.3), overlays=False)
    assert (read(out / "a.png")[:, 22:38] == 0).all()


def test_a_volume_gets_a_label_map_on_its_own_grid(run_folder, tmp_path):
    labels = np.zeros((5, 120, 100), "uint8")  # slices along the first axis
    labels[1:4, 20:70, 30:60], labels[2, 80:110, 10:90] = 1, 2
    affine = np.array([[0, -1.0, 0, 5], [0, 0, 1.5, 6], [4.0, 0, 0, 7], [0, 0, 0, 1]])
    bright = np.stack([labels == 1, labels == 2], axis=-1).astype("float32")
    (tmp_path / "in").mkdir()
    for name in ("a.nii", "b.c.NII.GZ"):
        nibabel.save(nibabel.Nifti1Image(bright, affine), tmp_path / "in" / name)
    assert read_slices([tmp_path / "in" / "a.nii"], 2)[1] == pytest.approx((4.0, 1.5, 1.0))
    out = tmp_path / "out"
    assert predict_files(run_folder("prostate"), [tmp_path / "in"], out) == 0
    assert names(out) == {"a.nii.gz", "a_overlay.png", "b.c.nii.gz", "b.c_overlay.png"}
    for name in ("a.nii.gz", "b.c.nii.gz"):
        written = nibabel.load(out / name)
        np.testing.assert_allclose(written.affine, affine)
        found = np.asarray(written.dataobj)
        assert found.shape == labels.shape and found.dtype == np.uint8
        for label in (1, 2):
            assert dice(labels == label, found == label) > 0.95
    assert read(out / "a_overlay.png").shape == (100, 120, 3)


def test_what_the_headers_of_volumes_leave_open_is_told(run_folder, tmp_path, capsys):
    bright = np.random.default_rng(0).random((12, 12, 3, 2), "float32")
    tilted = np.diag([1.0, 1.0, 4.0, 1.0])
    tilted[0, 2] = 1
    (tmp_path / "in").mkdir()
    for name, affine in (("a", None), ("b", None), ("c", tilted), ("d", np.diag((1, 1, 4, 1)))):
        nibabel.save(nibabel.Nifti1Image(bright, affine), tmp_path / "in" / f"{name}.nii")
    assert predict_files(run_folder("prostate"), [tmp_path / "in"], tmp_path / "out") == 0
    told = capsys.readouterr().err.splitlines()
    unplaced, sheared = [line for line in told if f"{tmp_path / 'in'}" in line]
    assert "a.nii: does not say how it lies" in unplaced
    assert unplaced.endswith("The same holds for 1 other.")
    assert "c.nii: its axes do not meet at right angles" in sheared


def test_all_folds_on_volumes_clean_up_as_their_cross_validation_did(tmp_path, monkeypatch, caplog):
    labels = np.zeros((5, 120, 100), "uint8")
    labels[1:4, 20:50, 30:60] = 1
    labels[3, 60:100, 30:90] = 1  # the largest of its slice, and not of the volume
    labels[1, 80:110, 10:40] = labels[4, 20:40, 30:60] = 2
    affine = np.array([[0, -1.0, 0, 5], [0, 0, 1.5, 6], [4.0, 0, 0, 7], [0, 0, 0, 1]])
    bright = np.stack([labels == 1, labels == 2], axis=-1).astype("float32")
    nibabel.save(nibabel.Nifti1Image(bright, affine), tmp_path / "a.nii")
    task, predictor = STUBS["prostate"]
    monkeypatch.setattr(module, "load_predictor", lambda *_: predictor)
    folds = [tmp_path / "folds" / f"fold-{k}" for k in range(2)]
    for fold in folds:
        fold.mkdir(parents=True)
        write_json(fold / "config.json", {"schema": 1, "task": asdict(task)})
    write_json(tmp_path / "folds" / "cross-validation.json", {"folds": 2})
    cleanup = {"largest_region": False, "largest_component": {"PZ": True, "TZ": False}}
    write_json(tmp_path / "folds" / "postprocessing.json", cleanup)

    def pieces(members):
        predict_files(members, [tmp_path / "a.nii"], tmp_path / "out", flips="", overlays=False)
        found = np.asarray(nibabel.load(tmp_path / "out" / "a.nii.gz").dataobj)
        return [ndimage.label(found == label)[1] for label in (1, 2)], found

    (count, found), told = pieces(folds), caplog.text
    assert count == [1, 2] and "largest component " in told and " PZ" in told
    assert not found[3, 60:100, 65:90].any() and found[3, 25:45, 35:55].all()
    assert pieces(folds[0])[0] == [2, 2]  # a fold alone is a model as any other


def test_flips_and_tiles_reach_the_model(run_folder, tmp_path, monkeypatch, caplog):
    shapes = []

    def run(images):
        shapes.append(images.shape)
        return thirds(images)[..., :1]

    save(tmp_path / "a.png", blocks())
    model = run_folder("polyp")
    monkeypatch.setattr(module, "load_predictor", lambda *_: Predictor(SIZE, 3, 1, run))
    predict_files(model, [tmp_path / "a.png"], tmp_path / "out", flips="hv", tile=True)
    # 40 x 60 in tiles of 16 x 32 that overlap by half
    assert shapes == [(n, *SIZE, 3) for n in (8, 4) for _ in range(4)]
    np.testing.assert_array_equal(read(tmp_path / "out" / "a.png"), blocks()[..., 0])
    assert "white balance" not in caplog.text
    balanced = {**read_json(model / "config.json"), "recipe": {"white_balance": [0.7, 0.6, 0.5]}}
    write_json(model / "config.json", balanced)
    predict_files(model, [tmp_path / "a.png"], tmp_path / "again", flips="hv", tile=True)
    assert "each tile gets its white balance by itself" in caplog.text


def test_unreadable_files_do_not_stop_the_others(run_folder, tmp_path, capsys):
    folder = tmp_path / "in"
    for i in range(10):
        save(folder / f"{i:02}.png", picture(i))
    for i in (*range(8), 9):  # a whole batch, and one of the next
        (folder / f"{i:02}.png").write_text("broken")
    assert predict_files(run_folder("polyp"), [folder], tmp_path / "out") == 9
    assert names(tmp_path / "out") == {"08.png", "08_overlay.png"}
    first, *others = capsys.readouterr().err.splitlines()
    assert "00.png: not a readable image" in first and len(others) == 8


def test_volumes_of_other_channels_or_spacing_are_told(run_folder, tmp_path, capsys):
    folder = decathlon_folder(tmp_path, 3) / "imagesTr"
    values = np.random.default_rng(0).standard_normal((5, 6, 7, 2)).astype("float32")
    nibabel.save(nibabel.Nifti1Image(values[..., 0], np.eye(4)), folder / "case_00.nii.gz")
    far = np.diag([1.0, 1.0, 200.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(values, far), folder / "case_01.nii.gz")
    assert predict_files(run_folder("prostate"), [folder], tmp_path / "out", overlays=False) == 2
    assert names(tmp_path / "out") == {"case_02.nii.gz"}
    first, second = capsys.readouterr().err.splitlines()
    assert re.search("case_00.nii.gz: .*1 channel.* 2", first)
    assert re.search(r"case_01.nii.gz: .*spacing.*\(200.0", second)


@pytest.mark.parametrize(
    ("stub", "arguments", "message"),
    [
        ("polyp", {"inputs": ["absent.png"]}, "absent.png: no such file"),
        ("polyp", {"inputs": ["in/*.gif"]}, "no such file"),
        ("polyp", {"inputs": []}, "Nothing to predict"),
        ("polyp", {"inputs": ["imagesTr/case_00.nii.gz"]}, "polyp takes images"),
        ("prostate", {"inputs": ["in/a.png"]}, "prostate takes volumes"),
        ("prostate", {"inputs": ["imagesTr"], "tile": True}, "tiles"),
        ("polyp", {"inputs": ["in", "other"]}, "in/a.png and other/a.png: "),
        ("polyp", {"inputs": ["in", "clash"]}, "both .*a_overlay.png"),
        ("polyp", {"out": "in"}, "in/a.png: is an input"),
        ("polyp", {"inputs": ["link/a.png"], "out": "in"}, "in/a.png: is an input"),
        ("polyp", {"out": "in/a.png"}, "in/a.png: is not a folder"),
        ("polyp", {"threshold": 1.5}, "threshold .*0 to 1, not 1.5"),
        ("polyp", {"threshold": "auto"}, "threshold .*0 to 1, not auto"),
        ("hip", {"threshold": (0.5, 0.5)}, "each of pelvis, left_femur, right_femur"),
        ("polyp", {"flips": "vh"}, "h, v or hv"),
        ("polyp", {"task": hip}, "1 map.* hip .*3 and 3"),
    ],
)
def test_arguments_are_refused_before_anything_is_written(
    stub, arguments, message, run_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for path in ("in/a.png", "other/a.png", "clash/a_overlay.jpg"):
        save(tmp_path / path, blocks())
    decathlon_folder(tmp_path, 1)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    run, before = run_folder(stub), sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message.replace("(", r"\(")) as error:
        predict_files(run, **{"inputs": ["in"], "out": "out", **arguments})
    assert "\n" not in str(error.value) and sorted(tmp_path.rglob("*")) == before


def test_a_model_outside_a_run_needs_a_task(run_folder, tmp_path):
    save(tmp_path / "in" / "a.png", blocks())
    run_folder("polyp")
    model, out = tmp_path / "alone" / "model.tflite", tmp_path / "out"
    wanted = r"model.tflite: lies in no run folder .*; give --task.$"
    with pytest.raises(InputError, match=wanted):
        predict_files(model, [tmp_path / "in"], out)
    assert predict_files(model, [tmp_path / "in"], out, task=polyp) == 0


def test_few_images_are_in_memory_at_a_time(run_folder, tmp_path, monkeypatch):
    alive, peak = [], [0]

    def read_counted(path, channels, **ranges):
        image = np.zeros((8, 8, channels), "uint8")
        alive.append(path)
        peak[0] = max(peak[0], len(alive))
        weakref.finalize(image, alive.remove, path)
        return image

    for i in range(200):
        (tmp_path / f"{i}.png").touch()
    monkeypatch.setattr(module, "read_image", read_counted)
    run, out = run_folder("polyp"), tmp_path / "out"
    assert predict_files(run, [tmp_path], out, overlays=False) == 0
    assert len(names(out)) == 200
    assert peak[0] <= 3 * module.AT_ONCE and not alive
    peak[0] = 0
    predict_files(run, [tmp_path], out, tile=True, overlays=False)
    assert peak[0] <= 4


def test_what_is_passed_over_is_told(run_folder, tmp_path, caplog):
    save(tmp_path / "in" / "a.png", blocks())
    for name in ("notes.txt", "b.webm"):
        (tmp_path / "in" / name).write_text("no image")
    for name in ("test-SR.dcm", "DICOMDIR"):
        shutil.copy(get_testdata_file(name), tmp_path / "in")
    out = tmp_path / "out"
    assert predict_files(run_folder("polyp"), [tmp_path / "in"], out, overlays=False) == 3
    assert names(out) == {"a.png"}
    for words in (("b.webm", "notes.txt"), ("test-SR.dcm", "SR"), ("DICOMDIR", "DICOMDIR")):
        assert any(all(word in line for word in words) for line in caplog.messages)


def test_images_in_subfolders_are_told_and_read_by_a_pattern(run_folder, tmp_path, caplog):
    run, folder = run_folder("polyp"), tmp_path / "in"
    save(folder / "deep" / "er" / "b.png", blocks())
    with pytest.raises(InputError, match="subfolders"):
        predict_files(run, [folder], tmp_path / "none", overlays=False)
    save(folder / "a.png", blocks())
    assert predict_files(run, [folder], tmp_path / "one", overlays=False) == 0
    assert names(tmp_path / "one") == {"a.png"}
    (said,) = [x.getMessage() for x in caplog.records if x.levelname == "WARNING"]
    assert str(folder / "deep" / "er" / "b.png") in said
    (pattern,) = re.findall("'(.+)'", said)
    assert predict_files(run, [pattern], tmp_path / "both", overlays=False) == 0
    assert names(tmp_path / "both") == {"a.png", "b.png"}


@pytest.mark.parametrize(("place", "warned"), [("a", False), ("a/b", True)])
def test_series_one_folder_below_are_read_and_deeper_ones_are_told(place, warned, tmp_path, caplog):
    series_folder(tmp_path / "in" / place, count=2)
    volume = nibabel.Nifti1Image(np.zeros((4, 4, 2)), np.eye(4))
    nibabel.save(volume, tmp_path / "in" / "c.nii.gz")
    found, passed = find_inputs([tmp_path / "in"], replace(prostate, channels=1))
    assert {x.name for x in found} == ({"c"} if warned else {"a", "c"}) and not passed
    assert ("subfolders" in caplog.text) == warned


def test_a_link_that_leads_nowhere_is_told(run_folder, tmp_path, caplog):
    save(tmp_path / "in" / "a.png", blocks())
    (tmp_path / "in" / "b.png").symlink_to(tmp_path / "gone.png")
    assert predict_files(run_folder("polyp"), [tmp_path / "in"], tmp_path / "out") == 1
    assert "passed over, as they are no images: b.png" in caplog.text


def test_every_frame_of_a_dicom_file_is_predicted(run_folder, tmp_path):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "1.2.34"  # named by its UID, as a PACS exports it
    shutil.copy(get_testdata_file("examples_ybr_color.dcm"), path)
    out = tmp_path / "out"
    assert predict_files(run_folder("polyp"), [tmp_path / "in"], out, overlays=False) == 0
    assert names(out) == {"1.2.34_seg.dcm", *(f"1.2.34_{i:04}.png" for i in range(1, 31))}
    frames = pydicom.dcmread(path).pixel_array
    for i in (0, 29):
        expected = cv2.resize(frames[i], SIZE[::-1], interpolation=cv2.INTER_AREA)[..., 0] / 255
        wanted = 255 * (cv2.resize(expected, frames.shape[2:0:-1]) >= 0.5)
        assert (read(out / f"1.2.34_{i + 1:04}.png") != wanted).mean() < 0.001


def test_a_dicom_series_is_one_volume_and_its_slices_are_images(run_folder, tmp_path, monkeypatch):
    values = series_folder(tmp_path / "scan")
    out = tmp_path / "out"
    one = replace(prostate, channels=1, classes=("bright",))
    monkeypatch.setitem(STUBS, "prostate", (one, Predictor((64, 64), 1, 1, tissue)))
    assert predict_files(run_folder("prostate"), [tmp_path / "scan"], out, overlays=False) == 0
    assert names(out) == {"scan.nii.gz", "scan_seg.dcm"}
    mask = SimpleITK.ReadImage(str(out / "scan.nii.gz"))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "scan")))
    image = reader.Execute()
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(mask, get)(), getattr(image, get)(), atol=1e-4)
    bright = SimpleITK.GetArrayFromImage(image) > values.mean() + 1.5 * values.std()
    assert dice(bright, SimpleITK.GetArrayFromImage(mask) > 0) > 0.9
    run = run_folder("polyp")
    assert predict_files(run, [tmp_path / "scan"], tmp_path / "slices", overlays=False) == 0
    assert len(names(tmp_path / "slices")) == 2 * len(values)


def test_of_several_series_in_a_folder_it_is_told_which_is_which(
    run_folder, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    uids, study = {}, tmp_path / "study"
    study.mkdir()
    for part in "abc":
        series_folder(tmp_path / part, count=3)
        for k, path in enumerate(sorted((tmp_path / part).iterdir())):
            dicom = pydicom.dcmread(path)
            dicom.SeriesDescription = f"T2 {part}"
            if part == "c":  # a localizer
                dicom.ImageOrientationPatient = np.roll(np.eye(3), k, axis=0)[:2].ravel().tolist()
            dicom.save_as(study / f"{part}{path.name}")
        uids[dicom.SeriesInstanceUID] = f"(T2 {part}), 3 slices"
    one = replace(prostate, channels=1, classes=("bright",))
    monkeypatch.setitem(STUBS, "prostate", (one, Predictor((64, 64), 1, 1, tissue)))
    run, out = run_folder("prostate"), tmp_path / "out"
    assert predict_files(run, [study], out, overlays=False, seg="none") == 1
    names_of = {uid: f"study_{i}" for i, uid in enumerate(sorted(uids), 1)}
    (told,) = [x.getMessage() for x in caplog.records if "several series" in x.getMessage()]
    for uid, name in names_of.items():
        assert f"{name} is {uid} {uids[uid]}" in told
    (localizer,) = [names_of[uid] for uid, about in uids.items() if "T2 c" in about]
    (error,) = [x.getMessage() for x in caplog.records if x.levelname == "ERROR"]
    assert error.startswith(f"{localizer}: ") and "orientation" in error
    assert names(out) == {f"{name}.nii.gz" for name in names_of.values()} - {f"{localizer}.nii.gz"}


def test_a_file_for_each_channel(run_folder, tmp_path, caplog):
    labels = np.zeros((60, 50, 5), "uint8")
    labels[10:40, 10:25, 1:4], labels[20:50, 30:45, 2] = 1, 2
    (tmp_path / "in").mkdir()
    for number, label in ((0, 1), (1, 2)):
        channel = nibabel.Nifti1Image((labels == label).astype("float32"), np.diag([1, 1, 3, 1]))
        nibabel.save(channel, tmp_path / "in" / f"a_000{number}.nii.gz")
    nibabel.save(channel, tmp_path / "in" / "b_0000.nii.gz")
    out = tmp_path / "out"
    assert predict_files(run_folder("prostate"), [tmp_path / "in"], out, overlays=False) == 1
    assert names(out) == {"a.nii.gz"} and "b_0001" in caplog.text
    found = np.asarray(nibabel.load(out / "a.nii.gz").dataobj)
    for label in (1, 2):
        assert dice(labels == label, found == label) > 0.95


def test_a_refusal_comes_before_the_model_is_loaded(run_folder, tmp_path, monkeypatch):
    run = run_folder("polyp")

    def fail(*_):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(module, "load_predictor", fail)
    (tmp_path / "a.png").write_text("broken")
    sr = Path(get_testdata_file("test-SR.dcm"))
    assert predict_files(run, [tmp_path / "a.png", sr], tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()
    (tmp_path / "a.nrrd").write_text("broken")
    with pytest.raises(InputError, match="a.nrrd"):
        predict_files(run, [tmp_path / "a.nrrd"], tmp_path / "out")
