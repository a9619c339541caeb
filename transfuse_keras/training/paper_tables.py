"""The paper's Tables 5 and 6 as plain data: their rows and the paper's figures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        title: what it compares.
        setting: how the paper trained its rows.
        metrics: those it gives, by our names.
        columns: its own columns.
        rows: key of ABLATIONS -> (what it is, the paper's figures in `columns`).
    """

    title: str
    setting: str
    metrics: tuple[str, ...]
    columns: tuple[str, ...]
    rows: dict[str, tuple[str, tuple[float, ...]]]


TABLES = {
    5: Table(
        "Table 5, parallel-in-branch design",
        "S at 352x352, 30 epochs, pretrained branches, 1,450 images of Kvasir and CVC-ClinicDB",
        ("dice",),
        ("Kvasir Dice", "ColonDB Dice"),
        {
            "E.1": ("CNN alone, PUP decoder", (0.890, 0.645)),
            "E.2": ("transformer alone, PUP decoder", (0.889, 0.727)),
            "E.3": ("transformer on top of the CNN", (0.908, 0.749)),
            "E.4": ("CNN and VGG16 in parallel, BiFusion", (0.896, 0.651)),
            "E.5": ("in parallel, concatenation + residual", (0.912, 0.764)),
            "E.6": ("in parallel, BiFusion: TransFuse", (0.918, 0.773)),
        },
    ),
    6: Table(
        "Table 6, BiFusion module",
        "S at 192x256, 30 epochs, pretrained branches, 2,000 images of ISIC 2017",
        ("iou", "dice", "accuracy"),
        ("Jaccard", "Dice", "accuracy"),
        {
            "F.1": ("concatenation + residual", (0.778, 0.857, 0.939)),
            "F.2": ("+ CNN spatial attention", (0.782, 0.861, 0.941)),
            "F.3": ("+ transformer channel attention", (0.787, 0.865, 0.942)),
            "F.4": ("+ dot product: BiFusion", (0.795, 0.872, 0.944)),
        },
    ),
}
