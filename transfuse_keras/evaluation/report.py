"""One self-contained HTML page about a run, made from the files of its folder."""

import math
from collections import Counter
from pathlib import Path

import jinja2

from transfuse_keras.errors import InputError, blaming
from transfuse_keras.evaluation.cases import choose_headline
from transfuse_keras.evaluation.figures import (
    data_uri,
    distributions,
    draw_reliability,
    label,
    learning_curves,
    number,
)
from transfuse_keras.evaluation.paper import beside_paper
from transfuse_keras.evaluation.score_tables import (
    decimals,
    divide_columns,
    format_score,
    overviews,
    score_groups,
    shown_metrics,
    subgroup_rows,
)
from transfuse_keras.evaluation.subgroups import find_worst
from transfuse_keras.files import read_json, read_table, replacing

MOST_UNDEFINED = 40
REMEDY = "score the model again"
EXPORT_FIGURES = ("largest_difference", "mask_dice", "dice", "keras_dice")
REASONS = {  # (truth empty, prediction empty) -> why a score has no value, missed cases first
    (False, True): "prediction empty",
    (True, False): "truth empty",
    (True, True): "both empty",
    (False, False): "not known",
}


def write_report(run, metrics=None):
    """Write report.html of a run.

    Args:
        run: Path of the run folder. Sections about files that it lacks are left out.
        metrics: the content of metrics.json, which is read if None.

    Raises: InputError if metrics.json is missing, or one of the files is damaged.
    """
    if metrics is None:
        metrics = read_metrics(run / "metrics.json")
    names = shown_metrics(metrics)
    with blaming(run / "cases.csv", "damaged", REMEDY):
        rows = read_rows(run / "cases.csv")
        undefined = undefined_cases(rows, names)
        charts = distributions(rows, names, metrics.get("sets") or ())
    with blaming(run / "history.csv", "damaged", REMEDY):
        curves = learning_curves(read_rows(run / "history.csv"))
    with blaming(run / "overlays" / "index.json", "damaged", REMEDY):
        pictures = gallery(run / "overlays", rows)
    with blaming(run / "config.json", "damaged", REMEDY):
        described = facts(metrics, read_json(run / "config.json") or {})
    exports = read_exports(run / "export.json")
    with blaming(run / "metrics.json", "damaged", REMEDY):
        page = template().render(
            metrics=metrics,
            model=model_name(metrics["variant"]),
            headline=headline(metrics),
            facts=described,
            tables=[(columns, score_groups(metrics, columns)) for columns in divide_columns(names)],
            paper=beside_paper(metrics),
            subgroups=subgroup_rows(metrics.get("subgroups") or []),
            worst=find_worst(metrics.get("subgroups")),
            overviews=overviews(metrics, names),
            distributions=charts,
            curves=curves,
            gallery=pictures,
            calibration=list(calibration(metrics)),
            undefined=undefined[:MOST_UNDEFINED],
            reasons=Counter(reason for reason, *_ in undefined),
            exports=exports,
        )
    with replacing(run / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")


def read_metrics(path):
    """The content of metrics.json, with all that a report cannot do without."""
    metrics = read_json(path, REMEDY)
    if metrics is None:
        raise InputError(f"{path}: no such file; only a run that was scored has a report.")
    needed = {"task", "data", "protocol", "variant", "n", "mean", "classes"}
    whole = isinstance(metrics, dict) and needed <= metrics.keys()
    parts = ("mean", "classes", "thresholds")
    if not whole or not all(isinstance(metrics.get(key, {}), dict) for key in parts):
        raise InputError(f"{path}: not the scores of a run; score the model again.")
    return metrics


def read_exports(path):
    """The content of export.json: name -> what was verified; empty if there is no file."""
    remedy = "export the model again"
    exports = read_json(path, remedy) or {}
    with blaming(path, "damaged", remedy):
        for row in exports.values():
            sum((row.get(name) or 0 for name in EXPORT_FIGURES), 0.0)  # all are numbers
    return exports


def read_rows(path):
    """Rows of a CSV file as dicts of strings; none if there is no file."""
    return read_table(path, REMEDY) if path.is_file() else []


def template():
    loader = jinja2.PackageLoader("transfuse_keras.evaluation", ".")
    jinja = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    jinja.filters |= {"label": label, "score": format_score, "decimals": decimals}
    jinja.filters["exponent"] = lambda value: f"{value:.1e}" if value else "0"
    return jinja.get_template("report.html")


def model_name(variant):
    return "TransFuse" if variant == "unknown" else f"TransFuse {variant}"


def headline(metrics):
    """The figures to see first: [(name, text)]."""
    figures = [
        (f"mean {label(name)}", format_score(metrics["mean"][name], name))
        for name in choose_headline(metrics["mean"])
    ]
    return [*figures, ("test cases", metrics["n"])]


def facts(metrics, config):
    """What was trained on what: [(name, text)], as far as it is known."""
    recipe = config.get("recipe") or {}
    model = [model_name(metrics["variant"])]
    if "image_size" in recipe:
        model.append("{} x {} pixels".format(*recipe["image_size"]))
    if "weights" in config:
        model.append(f"weights {config['weights']}" if config["weights"] else "from scratch")
    keys = ("epochs", "batch_size", "learning_rate")
    training = [f"{key.replace('_', ' ')} {recipe[key]}" for key in keys if key in recipe]
    if "seed" in config:
        training.append(f"seed {config['seed']}")
    versions = [f"{name} {version}" for name, version in config.get("versions", {}).items()]
    seconds = metrics.get("seconds_per_case")
    found = {
        "Model": ", ".join(model),
        "Training": ", ".join(training),
        "Versions": ", ".join(versions),
        "Prediction": f"{seconds:.2g} s per case" if seconds else "",
    }
    return [(name, text) for name, text in found.items() if text]


def calibration(metrics):
    """The reliability of each class: (class, ECE, chart)."""
    for name, found in (metrics.get("calibration") or {}).items():
        if any(part["count"] < 0 for part in found["bins"]):
            raise ValueError(f"a bin of {name} holds less than no pixel")
        yield name, found["ece"], draw_reliability(found["bins"], name)


def gallery(folder, rows):
    """The overlays: {heading: [(picture, case, rank, score, [(class, score)])]}."""
    entries = read_json(folder / "index.json", REMEDY)
    if entries is None:
        entries = [{"file": path.name, "case": path.name} for path in sorted(folder.glob("*.png"))]
    worst = sum(entry.get("rank") == "worst" for entry in entries)
    headings = {"worst": f"The {worst} worst", None: "Overlays"}
    classes = {}
    for row in rows:
        classes.setdefault(row["case"], []).append((row["class"], number(row.get("dice"))))
    groups = {}
    for entry in entries:
        case, rank = entry["case"], entry.get("rank")
        picture = data_uri((folder / Path(entry["file"]).name).read_bytes(), "image/png")
        figure = (picture, case, rank, entry.get("score"), classes.get(case, []))
        groups.setdefault(headings.get(rank, "Best and median"), []).append(figure)
    return groups


def undefined_cases(rows, names):
    """The cases without a value in some metric: [(reason, case, class, text)] by reason."""
    found = []
    for row in rows:
        missing = [name for name in names if name in row and math.isnan(number(row[name]))]
        if missing:
            empty = row["truth_empty"] == "True", row["prediction_empty"] == "True"
            scores = ", ".join(label(name).split(",")[0] for name in missing)
            found.append((REASONS[empty], row["case"], row["class"], scores))
    order = list(REASONS.values())
    return sorted(found, key=lambda case: order.index(case[0]))
