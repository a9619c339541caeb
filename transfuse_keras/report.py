"""One self-contained HTML page about a run."""

import base64
import io

import jinja2
from matplotlib.figure import Figure

from transfuse_keras.files import replacing


def write_report(path, metrics, history, pictures, exports):
    """Write the report of a run.

    Args:
        path: Path of the HTML file.
        metrics: the content of metrics.json.
        history: rows of history.csv, as dicts of strings.
        pictures: list of (path of a PNG, caption).
        exports: the content of export.json.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("transfuse_keras", "."), autoescape=True
    )
    environment.filters["score"] = lambda value: "–" if value != value else f"{value:.3f}"
    page = environment.get_template("report.html").render(
        metrics=metrics,
        columns=list(metrics["mean"]),
        curves=learning_curves(history),
        pictures=[(encode(path.read_bytes()), caption) for path, caption in pictures],
        exports=exports,
    )
    with replacing(path) as temporary:
        temporary.write_text(page)


def learning_curves(history):
    """Loss and validation Dice over the epochs, as a PNG in base64."""
    epochs = [int(row["epoch"]) for row in history]
    figure = Figure(figsize=(8, 3), layout="constrained")
    loss, dice = figure.subplots(1, 2)
    for key, label in [("loss", "training"), ("val_loss", "validation")]:
        loss.plot(epochs, [float(row[key]) for row in history], marker=".", label=label)
    loss.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    loss.legend()
    dice.plot(epochs, [float(row["val_mask_dice"]) for row in history], marker=".", color="C1")
    dice.set(xlabel="epoch", ylabel="validation Dice", ylim=(0, 1))
    for axes in (loss, dice):
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150)
    return encode(buffer.getvalue())


def encode(png):
    return base64.b64encode(png).decode()
