"""The rules by which a task is planned from what is known of its data.

docs/own-data.md gives for each number the measurement or the source that it is from.
"""

from dataclasses import dataclass, replace

from transfuse_keras.tasks.facts import Facts, Machine
from transfuse_keras.tasks.hip import hip
from transfuse_keras.tasks.prostate import prostate
from transfuse_keras.tasks.skin import skin
from transfuse_keras.tasks.task import (
    PARTLY_RANDOM,
    RECIPE_CHANGES,
    Recipe,
    Task,
    recipe_changes,
    recipe_for,
)
from transfuse_keras.tasks.wording import (
    describe_balance,
    describe_batches,
    describe_changes,
    describe_classes,
    describe_data,
    describe_finding,
    describe_pictures,
    describe_scoring,
    describe_start,
)


@dataclass(frozen=True)
class Scale:
    """How large a training may be.

    Attributes:
        variant: a key of VARIANTS.
        why: this variant.
        side: pixels of the image's long side, where nothing asks for more or less.
        largest: pixels of the long side at most.
        views: how many training images are shown in all epochs together.
    """

    variant: str
    why: str
    side: int
    largest: int
    views: int


CPU = Scale("Ti", "no GPU, and S needs three times the arithmetic", 192, 320, 8_000)
ACCELERATOR = Scale("S", "a GPU, so the paper's first", 352, 512, 43_500)
SMALLEST = 128  # pixels of the long side, to which tiny images are enlarged
FINEST = 12  # pixels of the widest place of the thinnest class: three of the maps at stride 4
STRIDE = 16  # sides are multiples of it
EPOCHS = (2, 200)
BATCHES = 4  # an epoch has so many, where images are few
# bytes: of a process with S and Adam, and of each pixel of a batch (docs/precision.md)
PROCESS, PIXEL = 1.9e9, 2_700
SHARE = 0.5  # of the memory that may be taken

# kind of picture -> what images of it may be changed by
AUGMENTATIONS = {
    "volumes": prostate.augmentation,  # nnU-Net's
    "microscopy": replace(skin.augmentation, rotation=180),
    "photographs": skin.augmentation,
    "scans": hip.augmentation,
}
# kind of picture -> how like the mirrored masks must be, for flips (left-right, up-down); None:
# never
FLIP_LIKENESS = {
    "volumes": (0.7, 0.7),
    "microscopy": (0.0, 0.0),
    "photographs": (0.5, 0.5),
    "scans": (0.7, None),
}
MANY_OBJECTS = 10
STEEP = 15  # largest rotation in degrees where up and down differ
FOREGROUND, FILLED = 0.33, 0.7  # nnU-Net's share of a batch; where fewer images show a class
JUDGES = 10  # validation images of a class from which on they choose how masks are made


@dataclass(frozen=True)
class Line:
    """One decision: what it is about, what was decided, and why."""

    about: str
    choice: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """A task, and a Line for each decision in it."""

    task: Task
    lines: tuple[Line, ...]


def make_plan(facts: Facts, machine: Machine) -> Plan:
    """Plan a task.

    Args:
        facts: of the data.
        machine: that trains.

    Returns: Plan. The same facts give the same plan.
    """
    scale = ACCELERATOR if machine.accelerator else CPU
    size, why_size = choose_size(facts, scale)
    batch_size, why_batch = choose_batch_size(facts, machine, size)
    epochs, why_epochs = choose_epochs(facts, scale)
    augmentation, kind, why_kind = choose_augmentation(facts)
    variant, why_variant = scale.variant, scale.why
    if machine.weights in PARTLY_RANDOM:
        variant, why_variant = (
            "Lite",
            "the weights are of its CNN, and bring more than a larger model",
        )
    recipe = Recipe(
        variant,
        size,
        epochs,
        **{
            **recipe_changes(recipe_for(machine.weights), facts.field),
            "batch_size": batch_size,
            "foreground": FOREGROUND if facts.filled < FILLED else None,
            "weights": machine.weights,
        },
    )
    judged = facts.counts[1] >= JUDGES
    task = Task(
        facts.name,
        facts.classes,
        recipe,
        augmentation=augmentation,
        channels=facts.channels,
        exclusive=len(facts.classes) > 1 and not facts.overlap,
        mirror_pairs=facts.mirror_pairs,
        field=facts.field,
        ignore=facts.ignore,
        threshold="auto" if judged else None,
    )
    lines = (
        Line("data", describe_data(facts), describe_pictures(facts)),
        Line("classes", describe_classes(facts), describe_finding(facts)),
        Line("balance", describe_batches(recipe), describe_balance(facts)),
        Line("size", "{}x{}".format(*size), why_size),
        Line("variant", variant, why_variant),
        Line("batch", str(batch_size), why_batch),
        Line("epochs", str(epochs), why_epochs),
        Line("start", *describe_start(machine.weights)),
        Line("changes", describe_changes(task), f"taken for {kind}: {why_kind}"),
        Line("scores", *describe_scoring(facts, judged)),
    )
    return Plan(task, lines)


def choose_size(facts, scale):
    """(height, width) of the input, and why."""
    native = max(facts.size)
    thinnest, width = thinnest_class(facts)
    wanted = FINEST * native / width
    side = min(max(scale.side, wanted), native, scale.largest)
    side = max(side, SMALLEST)
    height, width_of_image = (max(STRIDE, round_to_stride(x * side / native)) for x in facts.size)
    of = "the field that is shown" if facts.field else "median"
    why = f"{of} {facts.size[0]}x{facts.size[1]}"
    pixels = width * side / native
    seen = f"the thinnest class, {thinnest}, is {pixels:.0f} pixels wide then"
    if side == SMALLEST > native:
        why += f", enlarged to a long side of {SMALLEST}; {seen}"
    elif pixels < FINEST - 0.5:
        least = "no image is enlarged" if side == native else f"more than {side:.0f} takes too long"
        why += f"; {seen}; {FINEST} would be better, but {least}"
    elif side == wanted:
        why += f"; {seen}, as wide as it should be at least"
    else:
        why += f"; {seen}, at least {FINEST} are needed"
    return (height, width_of_image), why


def thinnest_class(facts):
    """(name, width in pixels) of the class whose widest place is the narrowest."""
    found = [(width, name) for width, name in zip(facts.widths, facts.classes, strict=True)]
    width, name = min(pair for pair in found if pair[0] > 0)
    return name, width


def round_to_stride(pixels):
    return STRIDE * round(pixels / STRIDE)


def choose_batch_size(facts, machine, size):
    """Images of a batch, and why."""
    pretrained = recipe_for(machine.weights) == "paper"
    usual = Recipe().batch_size if pretrained else RECIPE_CHANGES["scratch"]["batch_size"]
    of_recipe = "as the paper has it" if pretrained else "best without the paper's weights"
    room = max(SHARE * machine.memory - PROCESS, 0) / (PIXEL * size[0] * size[1])
    few = facts.images / BATCHES
    batch_size = usual
    while batch_size > 2 and batch_size > min(few, room):
        batch_size //= 2
    if batch_size == usual:
        return usual, of_recipe
    if room < few:
        return batch_size, f"{machine.memory / 1e9:.1f} GB of memory are free"
    if facts.images < BATCHES * batch_size:
        return batch_size, f"the smallest, as there are {facts.images} images"
    return batch_size, f"so that an epoch of {facts.images} images has {BATCHES} batches or more"


def choose_epochs(facts, scale):
    """Number of epochs, and why."""
    fewest, most = EPOCHS
    wanted = -(-scale.views // facts.images)
    epochs = min(max(wanted, fewest), most)
    unit = "slices" if facts.field else "images"
    why = f"{facts.images} {unit}, each shown {epochs} times"
    if epochs == wanted:
        return epochs, f"{why}, make about {scale.views:,} views"
    return epochs, f"{why}; {'no more' if epochs == most else 'no fewer'} than {epochs} are planned"


def choose_augmentation(facts):
    """The Augmentation, the kind of picture, and why it is taken for one."""
    if facts.field:
        kind, why = "volumes", "slices are changed as nnU-Net does"
    elif facts.objects >= MANY_OBJECTS and not (facts.mirror_pairs or facts.sided):
        kind, why = "microscopy", f"{facts.objects:.0f} objects an image, so no up or down"
    elif facts.grey:
        kind, why = "scans", "grey, so never upside down"
    else:
        kind, why = "photographs", "in colour"
    flips = [may_flip(facts, kind, axis) for axis in (0, 1)]
    augmentation = replace(AUGMENTATIONS[kind], flip_horizontal=flips[0], flip_vertical=flips[1])
    if not all(flips) and augmentation.rotation > STEEP:
        augmentation = replace(augmentation, rotation=STEEP)
    if facts.sided:
        why += "; a class has a side, but none is its partner on the other, so no mirror images"
    elif not any(flips):
        why += "; the classes do not lie alike when mirrored"
    elif flips[0] and facts.mirror_pairs:
        why += "; mirrored with left and right exchanged"
    if facts.grey and kind != "volumes":
        augmentation = replace(augmentation, saturation=0.0, hue=0.0)
    return augmentation, kind, why


def may_flip(facts, kind, axis):
    """Whether images may be mirrored, left-right (axis 0) or up-down (1)."""
    least = FLIP_LIKENESS[kind][axis]
    if least is None or (axis == 0 and facts.sided):
        return False
    if facts.symmetry is None:  # too few images to tell
        return kind in ("microscopy", "photographs") or (axis == 0 and bool(facts.mirror_pairs))
    return facts.symmetry[axis] >= least
