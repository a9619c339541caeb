"""Who is a patient: what is taken from tables, headers, folders and names, and what is said."""

import json
import shutil

import pydicom
import pytest
from data.files import binary_folder, decathlon_folder, disc, hip_folder, picture, save
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from transfuse_keras.data.check import check
from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.layouts.groups import find_heads
from transfuse_keras.data.splits import find_splits
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task, hip, prostate

lesion = Task("t", ("lesion",))
NAMES = "anna bert carl dora emil fred greta hans ida jan karl lena"


def write(folder, names):
    """Images and masks; a name may have a folder before it, in which both get their own."""
    for number, name in enumerate(names):
        inner, _, stem = name.rpartition("/")
        save(folder / inner / "images" / f"{stem}.png", picture(number))
        save(folder / inner / "masks" / f"{stem}.png", disc(radius=4 + number % 9))
    return folder


def groups(folder, **options):
    return {x.name: x.group for x in find_samples(lesion, folder, **options).samples}


def parts_of(splits):
    return {name: {x.group for x in samples} for name, samples in splits.items()}


def alone(found):
    return all(name == group for name, group in found.items())


# names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stems",
    [
        ["benign_1", "benign_2", "malignant_1", "malignant_2", "normal_1", "normal_2"],
        ["benign (1)", "benign (2)", "malignant (1)", "malignant (2)"],
        ["IMG_0001", "IMG_0002", "IMG_0003"],
        ["ISIC_0000000", "ISIC_0000001"],
        ["grade1_01", "grade1_02", "grade2_01", "grade3_01", "grade3_02"],
        ["hospital1_01", "hospital1_02", "hospital2_03", "hospital3_04"],
        ["slice_001_p1", "slice_002_p1", "slice_001_p2"],
        ["visit1_017", "visit1_018", "visit2_017"],
        ["2019_001", "2019_002", "2020_001", "2021_001"],
        ["cju0qkwl35piu0993l0dewei2", "cju0qoxqj9q6s0835b43399p4", "cju0qx73cjw570799j4n5cjze"],
        ["JPCLN001", "JPCLN003", "JPCNN001"],
        ["1", "2", "3"],
        ["21_training", "22_training", "23_training"],
    ],
)
def test_beginnings_that_are_no_patients(stems):
    assert find_heads(stems)[0] is None


@pytest.mark.parametrize(
    ("stems", "heads"),
    [
        (["p01_s17", "p01_s18", "p02_s01"], ["p01", "p01", "p02"]),
        (["study_p1_s1", "study_p1_s2", "study_p2_s1"], ["study_p1", "study_p1", "study_p2"]),
        (["benign_4_1", "benign_4_2", "malignant_5_1"], ["benign_4", "benign_4", "malignant_5"]),
        (["TCGA_CS_49_1", "TCGA_CS_49_2", "TCGA_DU_50_1"], ["TCGA_CS_49"] * 2 + ["TCGA_DU_50"]),
        (["P001S01", "P001S02", "P002S01"], ["P001", "P001", "P002"]),
        (["video1-frame7", "video1-frame8", "video2-frame1"], ["video1", "video1", "video2"]),
        (["IMG_0001_a", "IMG_0001_b", "IMG_0002_a"], ["IMG_0001", "IMG_0001", "IMG_0002"]),
        (
            [f"{x}_{i}" for x in NAMES.split() for i in "12"],
            [x for x in NAMES.split() for _ in "12"],
        ),
    ],
)
def test_beginnings_that_tell_the_patient(stems, heads):
    assert find_heads(stems)[0] == heads


def test_kinds_of_images_are_in_every_split_and_the_choice_is_said(tmp_path):
    stems = [f"{word}_{i}" for word in ("benign", "malignant", "normal") for i in range(40)]
    splits = find_splits(lesion, write(tmp_path, stems))
    for part, samples in splits.items():
        assert len({sample.name.split("_")[0] for sample in samples}) > 1, part
    (note, division), (warning,) = splits.notes, splits.warnings
    assert (
        "120 images" in note and "benign, malignant, normal" in note and "not as patients" in note
    )
    assert "own patient" in note and "optimistic" in warning
    assert "by image" in division and "patient" not in division
    report = check(lesion, tmp_path)
    assert note in report.notes and warning in report.warnings and not report.errors


def test_numbered_images_of_one_device_are_not_one_patient(tmp_path):
    splits = find_splits(lesion, write(tmp_path, [f"IMG_{i:04}" for i in range(20)]))
    assert sum(map(len, splits.values())) == 20 and all(splits.values())


def test_patients_by_the_beginning_of_names_are_not_warned_of(tmp_path):
    splits = find_splits(hip, hip_folder(tmp_path, 9))
    assert "9 patients" in splits.notes[0] and "by patient" in splits.notes[1]
    assert not splits.warnings


def test_too_few_patients_are_divided_by_image_and_said(tmp_path):
    splits = find_splits(lesion, write(tmp_path, [f"p{p}_{i}" for p in (1, 2) for i in range(9)]))
    assert "2 patients cannot" in splits.notes[0] and "optimistic" in splits.warnings[0]
    assert all(splits.values())


def test_the_pattern_of_a_task_decides(tmp_path):
    write(tmp_path, [f"p{p}_{i}" for p in range(5) for i in range(2)])
    task = Task("t", ("lesion",), patient=".+")
    listing = find_samples(task, tmp_path)
    assert len({x.group for x in listing.samples}) == 10 and "pattern" in listing.notes[0]


# folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["patient{}/{:03}", "TCGA_{}_1996/{:03}", "{:03}/img{}"])
def test_a_folder_is_a_patient(tmp_path, pattern):
    write(tmp_path, [pattern.format(p, i) for p in range(6) for i in range(3)])
    found = groups(tmp_path)
    assert len(set(found.values())) == 6
    assert all(group == name.rpartition("/")[0] for name, group in found.items())
    parts = list(parts_of(find_splits(lesion, tmp_path)).values())
    assert sum(map(len, parts)) == 6 and not set.intersection(*parts)


def test_a_folder_of_patients_in_images_and_masks(tmp_path):
    for number in range(12):
        for part, array in (("images", picture(number)), ("masks", disc())):
            save(tmp_path / part / f"case{number // 3}" / f"{number % 3}.png", array)
    assert set(groups(tmp_path).values()) == {f"case{i}" for i in range(4)}


@pytest.mark.parametrize("folders", ["Kvasir CVC-300 ETIS", "benign malignant normal"])
def test_a_folder_of_another_kind_is_no_patient(tmp_path, folders):
    assert alone(groups(write(tmp_path, [f"{x}/{i}" for x in folders.split() for i in range(3)])))


def test_a_patient_in_two_named_splits_is_warned_of(tmp_path):
    names = [f"train/p{p}_{i}" for p in range(6) for i in (1, 2)]
    write(tmp_path, [*names, *[f"val/p{p}_1" for p in (6, 7)], *[f"test/p{p}_3" for p in (5, 8)]])
    (tmp_path / "groups.csv").write_text(
        "".join(f"p{p}_{i},person {p}\n" for p in range(9) for i in (1, 2, 3))
    )
    (warning,) = find_splits(lesion, tmp_path).warnings
    assert "person 5" in warning and "train" in warning and "test" in warning


# tables, headers, options ----------------------------------------------------------------------


def test_a_table_above_several_folders(tmp_path):
    write(tmp_path, [f"{x}/{x}{i}" for x in "ab" for i in range(4)])
    (tmp_path / "groups.csv").write_text("a0,anna\nb/b2.png,anna\n")
    found = groups(tmp_path)
    assert found["a/a0"] == found["b/b2"] == "anna" and found["a/a1"] == "a/a1"


def test_attributes_are_told_by_folder_and_stem_and_by_the_file_of_group(tmp_path):
    write(tmp_path, [f"{x}/{i}" for x in "ab" for i in range(3)])  # stems are there twice
    lines = [f"{x}/{i}.png,p{i},{x.upper()}" for x in "ab" for i in range(3)]
    for file in (tmp_path / "groups.csv", tmp_path / "mine.csv"):
        file.write_text("\n".join(["stem,group,device", *lines]))
        option = None if file.name == "groups.csv" else str(file)
        samples = find_samples(lesion, tmp_path, group=option).samples
        assert {x.name: x.attributes["device"] for x in samples} == {
            f"{x}/{i}": x.upper() for x in "ab" for i in range(3)
        }
        file.unlink()


@pytest.mark.parametrize("place", ["", "a", "a/b", "a/b/c", "a/b/c/images"])
@pytest.mark.parametrize("outlines", [False, True])
def test_patients_and_attributes_are_told_by_the_nearest_table(tmp_path, place, outlines):
    folder = binary_folder(tmp_path / "a/b/c", [f"{i}" for i in range(4)])
    if outlines:
        shutil.rmtree(folder / "masks")
        entries = [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in range(4)]
        coco = {"images": entries, "annotations": [], "categories": [{"id": 1, "name": "lesion"}]}
        (folder / "coco.json").write_text(json.dumps(coco))
    for inner, device in {"": "A", place: "B"}.items():
        rows = [f"{i}.png,{device}{i // 2},{device}" for i in range(4)]
        (tmp_path / inner / "groups.csv").write_text("\n".join(["stem,group,device", *rows]))
    for sample in find_samples(lesion, tmp_path).samples:
        number = int(sample.name.rpartition("/")[2])
        assert (sample.group, sample.attributes) == (f"B{number // 2}", {"device": "B"})


@pytest.mark.parametrize("place", ["", "Task05", "Task05/imagesTr"])
def test_a_table_of_volumes_may_lie_where_one_of_images_may(tmp_path, place):
    folder = tmp_path / "Task05"
    folder.mkdir()
    decathlon_folder(folder, 4)
    rows = [f"case_0{i}.nii.gz,p{i // 2},{i % 2}" for i in range(4)]
    (tmp_path / place / "groups.csv").write_text("\n".join(["stem,group,device", *rows, "x,p,1"]))
    listing = find_samples(prostate, tmp_path)
    found = {x.name: (x.group, x.attributes["device"]) for x in listing.samples}
    assert found == {f"case_0{i}": (f"p{i // 2}", f"{i % 2}") for i in range(4)}
    assert any("rows without an image: 1, such as x" in x for x in listing.warnings)


@pytest.mark.parametrize("rows", ["paths", "names"])
def test_the_file_of_group_names_images_as_a_groups_csv_does(tmp_path, rows):
    for start, site in enumerate("ab"):
        binary_folder(tmp_path / "data" / site, [f"{i}" for i in range(3)], start=9 * start)
    inner = "/images" if rows == "paths" else ""
    lines = [f"{site}{inner}/{i}.png,{site}{i},{site}" for site in "ab" for i in range(3)]
    (tmp_path / "mine.csv").write_text("\n".join(["stem,group,device", *lines]))
    samples = find_samples(lesion, tmp_path / "data", group=str(tmp_path / "mine.csv")).samples
    assert {x.name: (x.group, x.attributes) for x in samples} == {
        f"{site}/{i}": (f"{site}{i}", {"device": site}) for site in "ab" for i in range(3)
    }


def save_dicom(path, patient, number):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, preamble=b"\0" * 128, file_meta=meta)
    file.PatientID, file.SOPClassUID = patient, pydicom.uid.SecondaryCaptureImageStorage
    file.SOPInstanceUID = pydicom.uid.generate_uid()
    pixels = picture(number)[..., 0].copy()
    file.Rows, file.Columns, file.SamplesPerPixel = *pixels.shape, 1
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit, file.PixelRepresentation = 7, 0
    file.PhotometricInterpretation, file.PixelData = "MONOCHROME2", pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("ids", [["A", "B", "C", "A", "B", "C"], ["ANONYMOUS"] * 6])
def test_dicom_patients_unless_all_are_the_same(tmp_path, ids):
    for number, patient in enumerate(ids):
        save_dicom(tmp_path / "images" / f"IMG{number}.dcm", patient, number)
        save(tmp_path / "masks" / f"IMG{number}.png", disc())
    listing = find_samples(lesion, tmp_path)
    found = {x.name: x.group for x in listing.samples}
    if "A" in ids:
        assert list(found.values()) == ids and listing.patients
    else:
        assert alone(found) and "ANONYMOUS" in listing.notes[0]


def test_group_decides(tmp_path):
    names = [f"{x}/p{p}_{i}" for x in ("left", "right") for p in range(3) for i in range(2)]
    write(tmp_path / "data", names)
    table = tmp_path / "patients.csv"
    table.write_text("stem,group\n" + "".join(f"{x},{x[-1]}\n" for x in names))
    folder = tmp_path / "data"
    assert alone(groups(folder, group="none"))
    assert set(groups(folder, group="folder").values()) == {"left", "right"}
    assert set(groups(folder, group="prefix").values()) == {
        f"{x}/p{p}" for x in ("left", "right") for p in range(3)
    }
    assert set(groups(folder, group=str(table)).values()) == {"0", "1"}
    found = groups(folder, group=r"p\d")
    assert found["left/p2_1"] == found["left/p2_0"] != found["right/p2_0"]
    assert groups(folder, group=r"_(\d)")["left/p2_1"] == "left/1"
    for option, said in (("absent.csv", "absent.csv"), ("[", "--group"), ("zzz", "zzz")):
        with pytest.raises(InputError, match=said.replace("[", r"\[")):
            groups(folder, group=option)
    with pytest.raises(InputError, match="2 patients"):  # told so: not divided another way
        find_splits(lesion, folder, group="folder")
