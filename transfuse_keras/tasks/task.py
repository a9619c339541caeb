"""What a segmentation task is: plain data."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image and, where they move pixels, of its masks.

    Attributes:
        rotation: largest angle in degrees, drawn from [-rotation, rotation].
        scale: zoom factor drawn from [1 - scale, 1 + scale].
        shift: largest shift as a share of each side.
        flip_horizontal, flip_vertical: flip with probability 1/2.
        brightness, contrast: factors drawn from [1 - x, 1 + x].
        saturation, hue: for colour images; a factor from [1 - saturation, 1 + saturation] and
            a turn of the colour circle by up to `hue` (1 is a full turn).
        probability: how often the rotation, scale and shift are applied.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    probability: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """How a task is trained.

    Attributes:
        variant: a key of VARIANTS.
        image_size: (height, width) that images are resized to.
        epochs, batch_size, learning_rate: of the training.
        betas: Adam's decay rates.
        clip_norm: the global gradient norm is clipped to this.
        counts: phantoms in (training, validation, test), where a recipe is for phantoms.
    """

    variant: str
    image_size: tuple[int, int]
    epochs: int
    batch_size: int
    learning_rate: float
    betas: tuple[float, float] = (0.5, 0.999)
    clip_norm: float = 2.0
    counts: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Task:
    """A segmentation task.

    Attributes:
        name: also the name of its phantoms and of its run folder.
        classes: names of the M maps; label k of a label map is class k - 1.
        recipe: training on data.
        phantom_recipe: training on the built-in phantoms, for a laptop.
        augmentation: of training images.
        channels: of the image.
        exclusive: a pixel belongs to one class at most (else maps may overlap).
        mirror_pairs: pairs of classes that a horizontal flip exchanges.
        paper: the paper's figures for this task, for comparison in reports.
    """

    name: str
    classes: tuple[str, ...]
    recipe: Recipe
    phantom_recipe: Recipe
    augmentation: Augmentation = Augmentation()
    channels: int = 3
    exclusive: bool = False
    mirror_pairs: tuple[tuple[str, str], ...] = ()
    paper: dict = field(default_factory=dict)

    @property
    def mirrored_classes(self):
        """For each map of a flipped image, the index of the map it comes from."""
        partner = {a: b for pair in self.mirror_pairs for a, b in (pair, pair[::-1])}
        return [self.classes.index(partner.get(name, name)) for name in self.classes]
