import re

import cv2
import numpy as np
import pytest
from data.files import binary_folder, decathlon_folder, disc, hip_folder, picture, save

from transfuse_keras.cli import main
from transfuse_keras.data.check import check
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.pictures import color_of
from transfuse_keras.tasks import hip, polyp, prostate


@pytest.fixture
def damaged(tmp_path):
    """A hip folder with a fault of every kind; returns (folder, faulty file -> what is said)."""
    folder = hip_folder(tmp_path / "hips", patients=10)
    images, masks = folder / "images", folder / "masks"
    faults = {}

    def fault(path, said):
        faults[path] = said
        return path

    path = fault(images / "p1_s0.png", "not a readable image")
    path.write_bytes(path.read_bytes()[:-100])  # truncated
    fault(images / "p1_s1.png", "not a readable image").write_text("no image at all")
    fault(masks / "p2_s0.png", "not a readable mask").write_bytes(b"")
    (masks / "p2_s1.png").unlink()
    fault(images / "p2_s1.png", "has no mask")
    (images / "p3_s0.png").unlink()
    fault(masks / "p3_s0.png", "has no image")
    save(fault(masks / "p3_s1.png", "is 41x30 pixels, but its image"), np.zeros((30, 41), "uint8"))
    save(fault(masks / "p4_s0.png", "holds the label 9"), disc(9))
    (folder / "spacing.csv").write_text("p5_s0,0\np5_s1,abc\n" + "p6_s0,0.2\n" * 2)
    faults[folder / "spacing.csv"] = "the spacing of p5_s0 is 0 x 0 mm"
    return folder, faults


def test_every_planted_fault_is_named(damaged):
    folder, faults = damaged
    report = check(hip, folder)
    for path, said in faults.items():
        found = [line for line in report.errors if line.startswith(f"{path}: ")]
        assert any(said in line for line in found), (path, report.errors)
    assert len(report.errors) == len(faults) + 1  # spacing.csv has two
    assert sum(len(samples) for samples in report.splits.values()) == 20 - 7


def test_warnings_do_not_fail(tmp_path):
    hip_folder(tmp_path)
    save(tmp_path / "masks" / "p0_s0.png", np.zeros((30, 40), "uint8"))
    save(tmp_path / "images" / "p4_s1.png", picture(3))  # the file of p1_s1
    (tmp_path / "spacing.csv").write_text(
        "".join(f"p{i // 2}_s{i % 2},{0.2 if i != 5 else 2}\n" for i in range(12))
    )
    report = check(hip, tmp_path)
    assert not report.errors
    said = "\n".join(report.warnings)
    assert re.search(f"{tmp_path}/masks/p0_s0.png: .*empty", said)
    assert re.search(f"{tmp_path}/images/p2_s1.png: .* 2 mm.* 0.2 mm", said)
    assert re.search("p[14]_s1.png: .*same image", said)
    assert (
        main(["check", "--task", "hip", "--data", str(tmp_path), "--out", str(tmp_path / "s.png")])
        == 0
    )


def test_a_copy_in_another_split_is_an_error_whatever_its_file_type(tmp_path):
    for number, part in enumerate(("train", "val", "test")):
        binary_folder(tmp_path / part, [f"{part}{i}" for i in range(3)], start=3 * number)
    pixels = cv2.imread(str(tmp_path / "train" / "images" / "train1.png"))
    (tmp_path / "test" / "images" / "test2.png").unlink()
    cv2.imwrite(str(tmp_path / "test" / "images" / "test2.tif"), pixels)
    report = check(polyp, tmp_path)
    (error,) = report.errors
    for fact in ("test/images/test2.tif", "same image", "train/images/train1.png", "test split"):
        assert fact in error


def test_the_table_counts_pixels_and_samples_of_each_class(tmp_path):
    folder = binary_folder(tmp_path, [f"a{i}" for i in range(10)])
    save(folder / "masks" / "a4.png", np.zeros((30, 40), "uint8"))
    report = check(polyp, folder)
    header, _, *rows = report.table(polyp.classes)
    assert header.split() == [
        "split",
        "samples",
        "patients",
        *["polyp:", "%", "of", "pixels,", "of", "samples"],
    ]
    assert [row.split()[:3] for row in rows] == [
        [part, str(len(samples)), str(len(samples))] for part, samples in report.splits.items()
    ]
    for row, samples in zip(rows, report.splits.values(), strict=True):
        masks = np.stack([sample.read()[1] for sample in samples])
        shown = masks.any(axis=(1, 2, 3)).mean()
        assert row.split()[3:] == [f"{100 * masks.mean():.2f},", f"{100 * shown:.1f}"]


def test_further_columns_of_groups_csv_make_subgroups(tmp_path):
    folder = binary_folder(tmp_path, [f"a{i}" for i in range(4)])
    table = "stem,group,device,sex\na0.png,p1,A,f\na1,p1,B,\na2,p2,A,m\n"
    (folder / "groups.csv").write_text(table)
    found = {sample.name: sample for sample in find_samples(polyp, folder).samples}
    assert found["a0"].attributes == {"device": "A", "sex": "f"} and found["a0"].group == "p1"
    assert found["a1"].attributes == {"device": "B"} and found["a3"].attributes == {}


def test_volumes(tmp_path):
    decathlon_folder(tmp_path, 10)
    report = check(prostate, tmp_path)
    assert not report.errors and any("3 x 0.8 x 1 mm in 10 of 10" in x for x in report.notes)


def test_command_exit_codes_and_contact_sheet(damaged, tmp_path, capsys):
    folder, faults = damaged
    sheet = tmp_path / "sheet.png"
    command = ["check", "--task", "hip", "--out", str(sheet), "--data"]
    assert main([*command, str(folder)]) == 1
    said = capsys.readouterr().out
    assert all(f"ERROR: {path}: " in said for path in faults)
    assert f"{len(faults) + 1} errors" in said and "pelvis: % of pixels" in said
    drawn = cv2.imread(str(sheet))[..., ::-1]
    of_classes = [bytes.fromhex(color_of(k)[1:]) for k in range(3)]
    shown = [(drawn == list(colour)).all(axis=-1).sum() for colour in of_classes]
    assert drawn.shape[1] > 1000 and min(shown) > 300
    sheet.unlink()
    assert main([*command, str(hip_folder(tmp_path / "sound"))]) == 0
    assert "0 errors" in capsys.readouterr().out and sheet.is_file()
    assert main(["check", "--data", str(tmp_path / "sound"), "--out", str(sheet)]) == 0
    assert "class_3: % of pixels" in capsys.readouterr().out
    assert main([*command, str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err == f"transfuse: {tmp_path}/absent: no such folder.\n"
