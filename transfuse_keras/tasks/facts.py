"""What a plan is made from: a data set, measured, and the machine. Plain data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """A data set. What is measured is measured on training images; `data.survey` does it.

    Attributes:
        name: of the data set, a Python name.
        classes: names of the M classes.
        found: where the classes were found, in words.
        images: number of training images, counting the slices of volumes.
        counts: number of cases in (training, validation, test); 0 in test where the validation
            images are scored.
        size: median (height, width) in pixels; of volumes that of `field`, at their spacing.
        grey: whether no image has colours.
        bits: 8, or 16 where images have more.
        spacing: usual (row, column) in mm, or None where it is unknown.
        objects: median number of separate objects in an image that shows any.
        widths: for each class the median width in pixels of its widest place, in images that show
            it; 0 where none does.
        areas: for each class its share of all pixels.
        shown: for each class the share of the images that show it.
        filled: share of the images that show any class.
        overlap: whether in an image more than edges are in two classes.
        mirror_pairs: pairs of classes that are mirror images of each other.
        sided: whether a class belongs to one side without a partner on the other.
        symmetry: (left-right, up-down), how much the mean masks and their mirror images have in
            common, with partners exchanged, by the class with the least; 1 if as much as two halves
            of the data have. None where there are too few images to say.
        channels: of volumes; 3 for images.
        field: (height, width) in mm that a slice should show; None for images.
        ignore: value of the pixels that are left out, or None.
        patients: how many patients there are, or None where nothing tells them.
        notes: sentences on how the folder was read and divided.
    """

    name: str
    classes: tuple[str, ...]
    found: str
    images: int
    counts: tuple[int, int, int]
    size: tuple[int, int]
    grey: bool
    bits: int
    spacing: tuple[float, float] | None
    objects: float
    widths: tuple[float, ...]
    areas: tuple[float, ...]
    shown: tuple[float, ...]
    filled: float
    overlap: bool = False
    mirror_pairs: tuple[tuple[str, str], ...] = ()
    sided: bool = False
    symmetry: tuple[float, float] | None = None
    channels: int = 3
    field: tuple[float, float] | None = None
    ignore: int | None = None
    patients: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """What trains.

    Attributes:
        memory: bytes that a training may take; infinite where that is not known.
        accelerator: whether it has a GPU or TPU.
        weights: where a training starts: "imagenet" if published weights can be had, else a name of
            PARTLY_RANDOM, the package of that name, if it is installed, else "none".
    """

    memory: float = float("inf")
    accelerator: bool = False
    weights: str = "none"
