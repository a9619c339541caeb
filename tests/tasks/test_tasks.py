import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.splits import find_splits
from transfuse_keras.errors import InputError
from transfuse_keras.runs.settings import Settings
from transfuse_keras.tasks import TASKS, Augmentation, Task, find_task, hip, polyp, prostate, skin
from transfuse_keras.tasks.task import as_task
from transfuse_keras.training.train import train_task

KNOWN = {code.value for code in codes.SCT.concepts.values()}
ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data"


def test_recipes_are_the_papers():
    assert (polyp.recipe.image_size, polyp.recipe.scales) == ((352, 352), (0.75, 1.0, 1.25))
    assert polyp.augmentation == Augmentation()  # none
    assert (skin.recipe.image_size, skin.recipe.learning_rate) == ((192, 256), 7e-5)
    a = skin.augmentation
    assert (a.rotation, a.scale, a.shift, a.probability["move"]) == (25, 0.15, 0.15, 0.5)
    assert hip.mirror_pairs == (("left_femur", "right_femur"),) and not hip.exclusive
    assert (prostate.recipe.image_size, prostate.channels, prostate.exclusive) == (
        *((320, 320), 2, True),
    )
    for task in TASKS.values():
        recipe = task.recipe
        assert (recipe.variant, recipe.batch_size, recipe.epochs) == ("S", 16, 30)
        assert recipe.betas == (0.5, 0.999) and recipe.warm_up is None
        clipping = (None, 0.5) if task is polyp else (2.0, None)  # PraNet's, by element
        assert (recipe.clip_norm, recipe.clip_value) == clipping


def test_coded_terms_of_a_class():
    lung = ("39607008", "SCT", "Lung")
    task = Task("x", ("lung", "heart", "both"), codes={"lung": lung, "both": (lung, lung)})
    assert [task.coded_terms(name) for name in task.classes] == [(lung,), (), (lung, lung)]
    assert as_task(json.loads(json.dumps(asdict(task)))) == task
    with pytest.raises(ValueError, match="codes"):
        Task("x", ("lung",), codes={"lung": ("39607008", "SCT")})
    for task in TASKS.values():  # DICOM's own dictionary knows them by these values
        for value, scheme, _ in (term for x in task.classes for term in task.coded_terms(x)):
            assert scheme == "SCT" and value in KNOWN


def write_task(folder, text):
    path = folder / "mytask.py"
    path.write_text(text)
    return str(path)


def test_a_task_of_ones_own(tmp_path):
    text = "from transfuse_keras.tasks import Task\nknee = Task('knee', ('femur', 'tibia'))\n"
    task = find_task(write_task(tmp_path, text))
    assert task.name == "knee" and task.recipe.variant == "S" and task.phantom_recipe is None
    assert asdict(task)["classes"] == ("femur", "tibia")
    with pytest.raises(InputError, match="knee has no phantoms"):
        find_splits(task)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "mytask.py: holds 0 Tasks"),
        (
            "from transfuse_keras.tasks import Task\na = Task('a', ('x',))\nb = Task('b', ('x',))",
            "mytask.py: holds 2 Tasks",
        ),
        ("def (:\n", "mytask.py: .*SyntaxError"),
        ("import sys\nsys.exit('enough')\n", "mytask.py: .*SystemExit: enough"),
        (
            "from transfuse_keras.tasks import Task\nTask('a', ('x',), mirror_pairs=(('x', 'y'),))",
            "mytask.py: .*ValueError: Task a: mirror_pairs names y",
        ),
        (
            "from transfuse_keras.tasks import Task\nTask('a', 'lung')",
            "ValueError: Task a: classes ",
        ),
        (
            "from transfuse_keras.tasks import Task\nTask('a', ('x',), channels=2)",
            "ValueError: Task a: .*1 or 3 channels, not 2",
        ),
    ],
)
def test_a_task_file_that_fails_is_one_sentence(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as error:
        find_task(write_task(tmp_path, text))
    assert "\n" not in str(error.value)


def test_unknown_tasks_are_refused(tmp_path):
    with pytest.raises(InputError, match="task 'knee'.* hip, polyp, skin, prostate"):
        find_task("knee")
    with pytest.raises(InputError, match="absent.py: no such task file"):
        find_task(str(tmp_path / "absent.py"))


def test_the_examples_are_ten_lines_of_task():
    for name in ("chest", "hippocampus"):
        path = ROOT / "examples" / f"{name}.py"
        assert find_task(str(path)).name == name
        lines = path.read_text().split("Recipe, Task", 1)[1].splitlines()
        assert len([line for line in lines if line.strip()]) <= 10


@pytest.mark.skipif(not REAL.is_dir(), reason="the real images are elsewhere")
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("polyp", (880, 120, 120)),
        ("skin", (1426, 186, 388)),
        ("hip", (239, 53, 128)),
        ("examples/chest.py", (88, 12, 24)),
        ("examples/hippocampus.py", (146, 19, 43)),
    ],
)
def test_real_folders_are_found(name, counts):
    task = find_task(str(ROOT / name) if name.endswith(".py") else name)
    assert not find_samples(task, REAL / task.name).errors
    splits = find_splits(task, REAL / task.name)
    assert tuple(len(samples) for samples in splits.values()) == counts
    patients = {part: {sample.group for sample in splits[part]} for part in ("train", "test")}
    assert not patients["train"] & patients["test"]
    image, masks = splits["test"][0].read()
    assert image.shape[-1] == task.channels and masks.any()


def test_sure_classes_are_classes_of_images():
    assert hip.sure is None and hip.sure_maps == []
    assert replace(hip, sure=("pelvis", "right_femur")).sure_maps == [0, 2]
    with pytest.raises(ValueError, match="sure names hand"):
        replace(hip, sure=("hand",))
    with pytest.raises(ValueError, match="sure"):
        replace(hip, sure="pelvis")
    with pytest.raises(ValueError, match="on images"):
        replace(prostate, sure=prostate.classes[:1])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"class_weights": (1.0, 2.0)}, "class_weights"),  # of three classes
        ({"class_weights": (1.0, 0.0, 2.0)}, "class_weights"),
        ({"focal": 0.5}, "focal"),
        ({"muon": 0.0}, "muon"),
    ],
)
def test_terms_of_the_loss_that_cannot_be_are_refused(change, word):
    good = replace(hip.recipe, class_weights=(1.0, 2.0, 2.0), focal=2.0)
    Settings(hip, recipe=good).check()
    with pytest.raises(InputError, match=word):
        Settings(hip, recipe=replace(good, **change)).check()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"threshold": 50}, "threshold"),
        ({"threshold": "x"}, "threshold"),
        ({"flips": "x"}, "flips"),
    ],
)
def test_what_only_scoring_would_find_is_refused_at_once(change, word):
    with pytest.raises(ValueError, match=word):
        replace(hip, **change)
    with pytest.raises(ValueError, match="probability names mov, which is no change"):
        replace(hip.augmentation, probability={"mov": 0.5})
    with pytest.raises(InputError, match="protocol nope is unknown; known are"):
        train_task(Settings(replace(hip, protocols=("nope",))))
