"""The charts of a report, as SVG for an <img>: sharp on any screen and on paper."""

import io
import math

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from transfuse_keras.data.pictures import color_of
from transfuse_keras.evaluation.cases import PENALIZED, is_distance
from transfuse_keras.evaluation.pictures import data_uri
from transfuse_keras.evaluation.report_files import read_number
from transfuse_keras.metrics.calibration import BINS

BLUE, ORANGE, GREY, DARK = "#0072b2", "#d55e00", "#777777", "#222222"
WIDTH = 4.6  # inches: two beside each other on A4, one on a phone, with the text still readable
MOST_SETS = 12  # that are told apart
MANY_DOTS = 3000  # from here on dots are pixels, for the size of the file
METRIC_WORDS = {"iou": "IoU", "mae": "MAE", "nsd": "NSD", "pranet": "PraNet", "dice": "Dice"}
METRIC_WORDS |= {"e": "E", "f": "F"}
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


def distributions(rows, metrics, sets=()):
    """Charts of the cases that show a class, for an overlap and for a distance.

    Args:
        rows: of cases.csv, as dicts of strings.
        metrics: names of columns.
        sets: names of the test sets, with which the names of cases begin; few are drawn apart.

    Returns: list of (metric, chart), the dots in the colours of their classes.
    """
    classes = list(dict.fromkeys(row["class"] for row in rows))
    if 1 < len(sets) <= MOST_SETS:
        rows = [{"set": row["case"].rpartition("/")[0], **row} for row in rows]
    overlaps = [metric for metric in metrics if not is_distance(metric)]
    distances = [metric for metric in metrics if is_distance(metric)]
    distances.sort(key=lambda metric: not metric.startswith("hd95"))
    varying = [key for key in ("set", "class") if len({row.get(key) for row in rows}) > 1]
    charts = []
    for metric in overlaps[:1] + distances[:1]:
        groups, colors = {}, []
        for row in rows:
            value = read_number(row.get(metric))
            if row["truth_empty"] != "True" and not math.isnan(value):
                name = spoken(" ".join(row[key] for key in varying) or row["class"])
                if name not in groups:
                    groups[name] = []
                    colors.append(color_of(classes.index(row["class"])))
                groups[name].append(value)
        if groups:
            limits = (0, None) if is_distance(metric) else (0, 1)
            charts.append((metric, strips(groups, label(metric), limits, colors)))
    return charts


def strips(groups, title, limits, colors):
    """Every value as a dot, with a box over the middle half and the median.

    The axis fits the boxes: values far from all of them become a triangle at its end, with their
    number.

    Args:
        groups: {name: values}, drawn from top to bottom.
        title: of the value axis.
        limits: the values that are possible, None for no limit.
        colors: of the groups.
    """
    jitter = np.random.default_rng(0)
    many = sum(map(len, groups.values())) > MANY_DOTS
    low, high = fit_limits(groups.values(), *limits)

    def draw(axes):
        for y, (values, color) in enumerate(zip(groups.values(), colors, strict=True)):
            values = np.array(values)
            inside = values[(values >= low) & (values <= high)]
            heights = y + jitter.uniform(-0.28, 0.28, len(inside))
            dots = axes.scatter(inside, heights, 10, color, alpha=0.6, linewidths=0)
            dots.set(rasterized=many, clip_on=False)  # whole dots at 0 and 1
            first, median, third = np.percentile(values, (25, 50, 75))
            axes.barh(y, third - first, 0.7, first, facecolor="none", edgecolor=DARK, linewidth=1.2)
            axes.vlines(median, y - 0.35, y + 0.35, color=DARK, linewidth=2.4)
            for end, marker, count, side in (
                (low, "<", np.count_nonzero(values < low), "left"),
                (high, ">", np.count_nonzero(values > high), "right"),
            ):
                if count:
                    axes.plot(end, y + 0.42, marker, color=DARK, markersize=5, clip_on=False)
                    axes.annotate(f" {count} ", (end, y + 0.42), ha=side, va="center", fontsize=8)
        axes.set_yticks(range(len(groups)), list(groups))
        axes.set(xlabel=title, ylim=(len(groups) - 0.4, -0.6), xlim=(low, high))
        axes.grid(axis="y", visible=False)

    return chart(draw, 0.9 + 0.42 * len(groups))


def fit_limits(groups, least, most):
    """The (low, high) of an axis that shows nearly all values: three box lengths around the boxes,
    but not beyond the values themselves."""
    quarters = np.array([np.percentile(values, (0, 25, 75, 100)) for values in groups])
    length = 3 * (quarters[:, 2] - quarters[:, 1])
    low = np.maximum(quarters[:, 0], quarters[:, 1] - length).min()
    high = np.minimum(quarters[:, 3], quarters[:, 2] + length).max()
    edge = 0.04 * (high - low) or 0.01
    low, high = low - edge, high + edge
    low = low if least is None else max(least, low)
    return float(low), float(high if most is None else min(most, high))


def draw_agreement(found, unit, color):
    """Bland and Altman's chart: differences of sizes over their means, with the limits.

    Args:
        found: what `measure_agreement` gives of a class.
        unit: of the sizes.
        color: of the dots.
    """
    many = len(found["means"]) > MANY_DOTS

    def draw(axes):
        dots = axes.scatter(found["means"], found["differences"], 14, color, linewidths=0)
        dots.set(rasterized=many, alpha=0.7)
        axes.axhline(0, color=GREY, linewidth=0.8)
        for key, style in (("bias", "-"), ("low", "--"), ("high", "--")):
            if np.isfinite(found[key]):
                axes.axhline(found[key], color=DARK, linestyle=style, linewidth=1.2)
        axes.set(
            xlabel=f"mean of prediction and truth, {unit}", ylabel=f"prediction - truth, {unit}"
        )

    return chart(draw, 2.9)


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
            name: ([read_number(row[column]) for row in history], style)
            for name, column, style in (("training", key, "--"), ("validation", f"val_{key}", "-"))
            if history and column in history[0]
        }

        def draw(axes, heading=heading, lines=lines):
            for name, (values, style) in lines.items():
                color = BLUE if name == "validation" else GREY
                axes.plot(epochs, values, style, marker=marker, color=color, label=name)
            axes.set(xlabel="epoch", ylabel=heading)
            if heading == "loss":
                axes.set_ylim(bottom=0)
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


def spoken(name):
    """The name of a class as people write it."""
    return name.replace("_", " ")


def label(metric):
    """A metric as a heading: "hd95_mm" becomes "HD95, mm"."""
    if is_distance(metric):
        stem, unit = metric.removeprefix(PENALIZED).rsplit("_", 1)
        return f"{stem.upper()}{' with penalty' * metric.startswith(PENALIZED)}, {unit}"
    words = [METRIC_WORDS.get(word, word) for word in metric.split("_")]
    joined = ("-" if len(words[0]) == 1 else " ").join(words)
    return joined[0].upper() + joined[1:]
