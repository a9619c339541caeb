"""The rules of a plan, fact by fact; and the task file that it is written as."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from transfuse_keras.tasks import Augmentation, find_task, hip, prostate, skin
from transfuse_keras.tasks import plan as rules
from transfuse_keras.tasks.facts import Facts, Machine
from transfuse_keras.tasks.plan import make_plan
from transfuse_keras.tasks.source import write_source
from transfuse_keras.weights.efficientnet import PACKAGE

LESIONS = Facts(
    *("lesions", ("lesion",), "values 0 and 255 of the masks", 1000, (1000, 100, 200)),
    size=(300, 400),
    grey=False,
    bits=8,
    spacing=None,
    objects=1,
    widths=(120.0,),
    areas=(0.2,),
    shown=(1.0,),
    filled=1.0,
    symmetry=(0.9, 0.9),
)
HIPS = replace(
    LESIONS,
    classes=("pelvis", "left", "right"),
    size=(512, 512),
    grey=True,
    widths=(64.0, 40.0, 40.0),
    areas=(0.2, 0.01, 0.02),
    shown=(1.0, 0.5, 0.5),
    mirror_pairs=(("left", "right"),),
    symmetry=(0.9, 0.1),
)
GPU = Machine(accelerator=True, weights="imagenet")


def plan(facts=LESIONS, machine=None, **changes):
    return make_plan(replace(facts, **changes), machine or Machine())


def reason(made, about):
    return next(line.reason for line in made.lines if line.about == about)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (144, 192)),  # the long side of a CPU
        ({"size": (400, 300)}, (192, 144)),
        ({"widths": (20.0,)}, (176, 240)),  # 12 of 20 pixels: 240 of 400
        ({"widths": (2.0,)}, (240, 320)),  # 2400 would be too slow
        ({"size": (120, 160)}, (128, 160)),  # never enlarged,
        ({"size": (40, 60)}, (80, 128)),  # but for tiny images
        ({"size": (3000, 4000), "widths": (1200.0,)}, (144, 192)),
        ({"size": (8, 4000), "widths": (8.0,)}, (16, 320)),
    ],
)
def test_the_size_follows_the_images_and_the_thinnest_class(changes, size):
    assert plan(**changes).task.recipe.image_size == size


def test_a_size_that_is_too_small_for_a_class_is_said():
    made = plan(widths=(2.0,))
    assert "2 pixels" in reason(made, "size") and "12 would be better" in reason(made, "size")
    assert "6 pixels" in reason(plan(HIPS, widths=(64.0, 10.0, 0.0)), "size")  # right: absent


def test_batch_and_epochs_follow_the_number_of_images_and_the_memory():
    recipe = plan().task.recipe
    assert (recipe.batch_size, recipe.epochs) == (8, 8)  # 8,000 views
    assert (recipe.learning_rate, recipe.warm_up, recipe.weights) == (1e-3, 0.1, "none")
    few = plan(images=21).task.recipe
    assert (few.batch_size, few.epochs) == (4, 200)
    assert plan(images=1).task.recipe.batch_size == 2
    assert plan(images=10**6).task.recipe.epochs == 2
    # half of 4.4 GB less 1.9 GB for the process are 300 MB: 4 images of 144 x 192 x 2,700 bytes
    short = plan(machine=Machine(4.4e9))
    assert short.task.recipe.batch_size == 4 and "4.4 GB" in reason(short, "batch")


def test_weights_of_efficientnet_lite_take_the_variant_that_has_it_and_the_recipe_that_is_best():
    recipe = plan(machine=Machine(weights=PACKAGE)).task.recipe
    assert (recipe.variant, recipe.weights) == ("Lite", PACKAGE)
    assert (recipe.learning_rate, recipe.warm_up, recipe.batch_size) == (1e-3, 0.1, 8)


def test_a_gpu_trains_a_larger_model_on_larger_images_for_longer_from_published_weights():
    recipe = plan(machine=GPU, size=(768, 1024)).task.recipe
    assert (recipe.variant, recipe.image_size, recipe.epochs) == ("S", (256, 352), 44)
    assert (recipe.batch_size, recipe.learning_rate, recipe.weights) == (16, 1e-4, "imagenet")


def test_pictures_are_changed_as_their_kind_allows():
    assert plan().task.augmentation == skin.augmentation
    assert plan(HIPS).task.augmentation == hip.augmentation
    cells = plan(objects=30).task.augmentation
    assert cells.rotation == 180 and cells.flip_vertical and cells.hue
    grey_cells = plan(objects=30, grey=True).task.augmentation
    assert grey_cells.rotation == 180 and not grey_cells.hue and not grey_cells.saturation
    volumes = plan(field=(60.0, 60.0), channels=1).task
    assert volumes.augmentation == prostate.augmentation and volumes.channels == 1


@pytest.mark.parametrize(
    ("changes", "flips"),
    [
        ({}, (True, False)),
        ({"symmetry": (0.6, 1.0)}, (False, False)),  # as the heart in the chest
        ({"symmetry": None}, (True, False)),  # its pairs are known by name
        ({"symmetry": None, "mirror_pairs": ()}, (False, False)),
        ({"sided": True, "mirror_pairs": ()}, (False, False)),
        ({"grey": False}, (True, False)),
        ({"grey": False, "symmetry": (0.6, 0.6)}, (True, True)),
        ({"grey": False, "symmetry": None}, (True, True)),
        ({"objects": 20, "mirror_pairs": ()}, (True, True)),
        ({"field": (60.0, 60.0), "symmetry": (0.9, 0.1)}, (True, False)),
    ],
)
def test_mirror_images_are_those_that_could_be_real(changes, flips):
    a = plan(HIPS, **changes).task.augmentation
    assert (a.flip_horizontal, a.flip_vertical) == flips
    assert a.rotation <= 25 or all(flips)


def test_overlap_empty_images_and_few_judges_are_followed():
    assert plan(HIPS).task.exclusive and not plan(HIPS, overlap=True).task.exclusive
    assert not plan().task.exclusive  # one class
    assert plan().task.recipe.foreground is None
    assert plan(filled=0.4).task.recipe.foreground == 0.33
    assert plan().task.threshold == "auto" and plan(counts=(20, 3, 6)).task.threshold is None


def test_ten_lines_each_with_a_reason():
    for facts in (LESIONS, HIPS, replace(HIPS, field=(10.0, 20.0), spacing=(1.0, 1.0))):
        lines = make_plan(facts, Machine()).lines
        assert len(lines) == 10 and all(line.choice and line.reason for line in lines)


@pytest.mark.parametrize("facts", [LESIONS, HIPS, replace(HIPS, field=(10.0, 20.0), ignore=None)])
@pytest.mark.parametrize("machine", [Machine(), GPU])
def test_the_task_file_makes_the_same_task(tmp_path, facts, machine):
    made = make_plan(facts, machine)
    file = tmp_path / "it's mine.py"
    file.write_text(write_source(made, tmp_path / "my data", file))
    assert find_task(str(file)) == made.task
    text = file.read_text()
    assert text.count("# ") >= 10 and f"--data '{tmp_path}/my data'" in text
    assert all(line.reason.split()[0] in text for line in made.lines)


def test_names_of_any_letters_are_written_as_they_are(tmp_path):
    odd = ('a "b"', "c\\d", "é\n")
    made = plan(HIPS, classes=odd, mirror_pairs=())
    (tmp_path / "task.py").write_text(write_source(made, "d", "task.py"), encoding="utf-8")
    task = find_task(str(tmp_path / "task.py"))
    assert task.classes == odd and task.augmentation != Augmentation()


def test_the_page_has_the_numbers_of_the_rules():
    page = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text()
    table = {row[0]: row for row in re.findall(r"^\| (\w[\w ]*) \|(.*)$", page, re.MULTILINE)}
    for kind, flips in rules.FLIP_LIKENESS.items():
        shown = re.findall(r"likeness ([\d.]+)|(always|never)", table[kind][1])
        words = [{"always": 0.0, "never": None}[word] if word else float(x) for x, word in shown]
        assert tuple(words[-2:]) == flips
    numbers = set(re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", page))
    for scale in (rules.CPU, rules.ACCELERATOR):
        assert {str(scale.side), str(scale.largest), f"{scale.views:,}"} <= numbers
    for number in (rules.SMALLEST, rules.FINEST, *rules.EPOCHS, rules.BATCHES, rules.JUDGES):
        assert str(number) in numbers
    assert {f"{rules.PIXEL:,}", f"{rules.PROCESS / 1e9:g}", str(rules.STEEP)} <= numbers
