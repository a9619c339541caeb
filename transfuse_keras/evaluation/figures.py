"""The charts of a report, as SVG for an <img>: sharp on any screen and on paper."""

import base64
import io
import math

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from transfuse_keras.evaluation.cases import PENALIZED, is_distance
from transfuse_keras.evaluation.report_files import number
from transfuse_keras.metrics.calibration import BINS

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"  # told apart by colour-blind eyes
WIDTH = 4.6  # inches: two beside each other on A4, one on a phone, with the text still readable
MOST_SETS = 12  # that are told apart
MANY_DOTS = 3000  # from here on dots are pixels, for the size of the file
WORDS = {"iou": "IoU", "mae": "MAE", "pranet": "PraNet", "dice": "Dice", "e": "E", "f": "F"}
STYLE = {
    "font.size": 10,
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.hashsalt": "transfuse",  # the same run gives the same file
}


def chart(draw, height, **subplots):
    """A figure as a data URI.

    Args:
        draw: function that draws on what `Figure.subplots(**subplots)` returns.
        height: of the figure in inches.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure.subplots(**subplots))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", dpi=200, metadata={"Date": None})
    return data_uri(buffer.getvalue(), "image/svg+xml")


def data_uri(content, kind):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def distributions(rows, metrics, sets=()):
    """Charts of the cases that show a class, for an overlap and for a distance.

    Args:
        rows: of cases.csv, as dicts of strings.
        metrics: names of columns.
        sets: names of the test sets, with which the names of cases begin; few are drawn apart.

    Returns: list of (metric, chart).
    """
    if 1 < len(sets) <= MOST_SETS:
        rows = [{"set": row["case"].rpartition("/")[0], **row} for row in rows]
    overlaps = [metric for metric in metrics if not is_distance(metric)]
    distances = [metric for metric in metrics if is_distance(metric)]
    distances.sort(key=lambda metric: not metric.startswith("hd95"))
    varying = [key for key in ("set", "class") if len({row.get(key) for row in rows}) > 1]
    charts = []
    for metric in overlaps[:1] + distances[:1]:
        groups = {}
        for row in rows:
            if row["truth_empty"] != "True" and not math.isnan(value := number(row.get(metric))):
                name = " ".join(row[key] for key in varying) or row["class"]
                groups.setdefault(name, []).append(value)
        if groups:
            limits = (0, None) if is_distance(metric) else (0, 1)
            charts.append((metric, strips(groups, label(metric), limits)))
    return charts


def strips(groups, title, limits):
    """Every value as a dot, with a box over the middle half and the median.

    Args:
        groups: {name: values}, drawn from top to bottom.
        title, limits: of the value axis.
    """
    jitter = np.random.default_rng(0)
    many = sum(map(len, groups.values())) > MANY_DOTS

    def draw(axes):
        for y, values in enumerate(groups.values()):
            heights = y + jitter.uniform(-0.28, 0.28, len(values))
            dots = axes.scatter(values, heights, 10, GREY, alpha=0.5, linewidths=0)
            dots.set(rasterized=many, clip_on=False)  # whole dots at 0 and 1
            low, median, high = np.percentile(values, (25, 50, 75))
            axes.barh(y, high - low, 0.7, low, facecolor="none", edgecolor=BLUE, linewidth=1.4)
            axes.vlines(median, y - 0.35, y + 0.35, color=ORANGE, linewidth=2.4)
        axes.set(xlabel=title, xlim=limits, ylim=(len(groups) - 0.4, -0.6))
        axes.set_yticks(range(len(groups)), groups)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)

    return chart(draw, 0.9 + 0.5 * len(groups))


def learning_curves(history):
    """Charts of loss and Dice over the epochs, the kept epoch marked.

    Args:
        history: rows of history.csv, as dicts of strings.

    Returns: list of (heading, chart); empty without history.
    """
    charts = []
    epochs = [int(row["epoch"]) for row in history]
    marker = "." if len(epochs) < 40 else ""
    for heading, key in (("loss", "loss"), ("Dice", "mask_dice")):
        lines = {
            name: ([number(row[column]) for row in history], style)
            for name, column, style in (("training", key, "--"), ("validation", f"val_{key}", "-"))
            if history and column in history[0]
        }

        def draw(axes, heading=heading, lines=lines):
            for name, (values, style) in lines.items():
                color = BLUE if name == "validation" else GREY
                axes.plot(epochs, values, style, marker=marker, color=color, label=name)
            axes.update_datalim([(epochs[0], 0)])
            axes.autoscale_view()
            axes.set(xlabel="epoch", ylabel=heading, ylim=(0, None if heading == "loss" else 1))
            if heading == "Dice" and "validation" in lines:
                values = lines["validation"][0]
                best = int(np.nanargmax(values))
                name = f"best, epoch {epochs[best]}"
                axes.plot(epochs[best], values[best], "o", color=ORANGE, label=name)
            axes.xaxis.set_major_locator(
                MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
            )
            axes.legend()

        if lines:
            charts.append((heading, chart(draw, 2.9)))
    return charts


def draw_reliability(bins, title):
    """How often a pixel is true against its predicted probability, above the pixels a bin.

    Args:
        bins: list of {"confidence", "frequency", "count"}, of equal width; empty ones may lack.
        title: of the chart.
    """
    filled = [b for b in bins if b["count"]]

    def draw(both):
        curve, counts = both
        curve.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1, label="perfect")
        points = [[b[key] for b in filled] for key in ("confidence", "frequency")]
        curve.plot(*points, "o-", color=BLUE, markersize=4, label="model")
        curve.set(ylabel="share of true pixels", ylim=(0, 1))
        curve.set_title(title, fontsize=10.5, fontweight="bold", loc="left")
        curve.legend(loc="upper left")
        lefts = [min(int(b["confidence"] * BINS), BINS - 1) / BINS for b in filled]
        heights = [b["count"] for b in filled]
        counts.bar(lefts, heights, 0.9 / BINS, align="edge", color=BLUE, alpha=0.6)
        counts.set(xlabel="predicted probability", ylabel="pixels", xlim=(0, 1), yscale="log")

    return chart(draw, 4.1, nrows=2, sharex=True, height_ratios=(3, 1))


def label(metric):
    """A metric as a heading: "hd95_mm" becomes "HD95, mm"."""
    if is_distance(metric):
        stem, unit = metric.removeprefix(PENALIZED).rsplit("_", 1)
        return f"{stem.upper()}{' with penalty' * metric.startswith(PENALIZED)}, {unit}"
    words = [WORDS.get(word, word) for word in metric.split("_")]
    joined = ("-" if len(words[0]) == 1 else " ").join(words)
    return joined[0].upper() + joined[1:]
