"""One self-contained HTML page about a run, made from the files of its folder."""

import math
from collections import Counter

import jinja2
import numpy as np

from transfuse_keras.evaluation.figures import (
    data_uri,
    distributions,
    draw_reliability,
    is_distance,
    label,
    learning_curves,
)
from transfuse_keras.evaluation.report_files import (
    number,
    read_case_rows,
    read_exports,
    read_facts,
    read_history_rows,
    read_metrics,
    read_pictures,
)
from transfuse_keras.files import replacing

MOST_COLUMNS = 6  # more metrics become two tables
MOST_UNDEFINED = 40
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
    names = list(metrics["mean"])
    rows = read_case_rows(run / "cases.csv", names)
    history = read_history_rows(run / "history.csv")
    pictures = read_pictures(run / "overlays")
    config = read_facts(run / "config.json")
    exports = read_exports(run / "export.json")
    undefined = undefined_cases(rows, names)
    page = template().render(
        metrics=metrics,
        model=model_name(metrics["variant"]),
        headline=headline(metrics),
        facts=facts(metrics, config),
        tables=[(columns, score_groups(metrics, columns)) for columns in tables(names)],
        paper=list(beside_paper(metrics)),
        overviews=overviews(metrics, names),
        distributions=distributions(rows, names, metrics.get("sets") or ()),
        curves=learning_curves(history),
        gallery=gallery(pictures, rows),
        calibration=list(calibration(metrics)),
        undefined=undefined[:MOST_UNDEFINED],
        reasons=Counter(reason for reason, *_ in undefined),
        exports=exports,
    )
    with replacing(run / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")


def template():
    loader = jinja2.PackageLoader("transfuse_keras.evaluation", ".")
    jinja = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    jinja.filters |= {"label": label, "score": format_score, "decimals": decimals}
    jinja.filters["exponent"] = lambda value: f"{value:.1e}" if value else "0"
    return jinja.get_template("report.html")


def format_score(value, metric=""):
    """A score with the decimals that its metric deserves; an en dash for no value."""
    return decimals(value, 2 if is_distance(metric) else 3)


def decimals(value, places):
    """A rounded number, with the real minus sign; an en dash for no value."""
    if value is None or isinstance(value, jinja2.Undefined) or value != value:
        return "–"
    return f"{value:.{places}f}".replace("-", "−")


def model_name(variant):
    return "TransFuse" if variant == "unknown" else f"TransFuse {variant}"


def headline(metrics):
    """The figures to see first: [(name, text)]."""
    names = list(metrics["mean"])
    chosen = [name for name in ("dice", "hd95_mm", "hd95_px") if name in names] or names[:1]
    figures = [
        (f"mean {label(name)}", format_score(metrics["mean"][name], name)) for name in chosen
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
    seconds, used = metrics.get("seconds_per_case"), metrics.get("trained_on")
    found = {
        "Model": ", ".join(model),
        "Training": ", ".join(training),
        "Versions": ", ".join(versions),
        "Split": " ".join(config.get("split") or ()),
        "Trained on": f"{used} of {metrics['n']} scored cases" if used else "",
        "Prediction": f"{seconds:.2g} s per case" if seconds else "",
    }
    return [(name, text) for name, text in found.items() if text]


def tables(names):
    """The metrics of each table: all in one, or overlaps and distances apart if they are many."""
    if len(names) <= MOST_COLUMNS:
        return [names]
    kinds = [[name for name in names if is_distance(name) == kind] for kind in (False, True)]
    counts = [math.ceil(len(kind) / MOST_COLUMNS) for kind in kinds]
    parts = [np.array_split(kind, n) for kind, n in zip(kinds, counts, strict=True) if n]
    return [part.tolist() for of_kind in parts for part in of_kind]


def score_groups(metrics, columns):
    """The rows of a score table: [(class, [(heading, [text of each column])])]."""
    statistics = metrics.get("statistics") or {}
    groups = list(metrics["classes"].items())
    if len(groups) > 1:
        groups.append(("mean", metrics["mean"]))
    return [(name, statistic_rows(of, statistics.get(name, {}), columns)) for name, of in groups]


def statistic_rows(scores, statistics, columns):
    """The score itself, then what is known about its spread."""
    found = [statistics.get(column) or {} for column in columns]
    pairs = list(zip(found, columns, strict=True))
    rows = {
        "95 % interval": [format_interval(of, column) for of, column in pairs],
        "std": [format_score(of.get("std"), column) for of, column in pairs],
        "median": [format_score(of.get("median"), column) for of, column in pairs],
        "cases": [decimals(of.get("n", scores.get("n")), 0) for of in found],
    }
    known = [(heading, row) for heading, row in rows.items() if set(row) != {"–"}]
    return [("", [format_score(scores.get(column), column) for column in columns]), *known]


def format_interval(statistics, metric):
    bounds = [format_score(statistics.get(end), metric) for end in ("low", "high")]
    return "–" if "–" in bounds else " to ".join(bounds)


def overviews(metrics, names):
    """The mean scores by test set and by fold: [(heading, [(columns, [(name, n, [text])])])]."""
    sets = (metrics.get("sets") or {}).items()
    folds = [(found["fold"], found) for found in metrics.get("folds") or []]

    def rows(parts, columns):
        for name, of in parts:
            yield (
                name,
                of["n"],
                [format_score(of["mean"].get(column), column) for column in columns],
            )

    return [
        (heading, [(columns, rows(parts, columns)) for columns in tables(names)])
        for heading, parts in (("test set", sets), ("fold", folds))
        if parts
    ]


def calibration(metrics):
    """The reliability of each class: (class, ECE, chart)."""
    for name, found in (metrics.get("calibration") or {}).items():
        yield name, found["ece"], draw_reliability(found["bins"], name)


def beside_paper(metrics):
    """Each figure of the paper: (class or set, metric, the paper's, this run's, difference)."""
    sets = {name: found["mean"] for name, found in (metrics.get("sets") or {}).items()}
    ours = {"mean": metrics["mean"]} | metrics["classes"] | sets
    for name, figures in (metrics.get("paper") or {}).items():
        for metric, theirs in figures.items():
            own = ours.get(name, {}).get(metric)
            yield name, metric, theirs, own, None if None in (own, theirs) else own - theirs


def gallery(pictures, rows):
    """The overlays: {heading: [(picture, case, rank, score, [(class, score)])]}."""
    worst = sum(entry["rank"] == "worst" for entry in pictures)
    headings = {"worst": f"The {worst} worst", None: "Overlays"}
    classes = {}
    for row in rows:
        classes.setdefault(row["case"], []).append((row["class"], number(row.get("dice"))))
    groups = {}
    for entry in pictures:
        case, rank = entry["case"], entry["rank"]
        picture = data_uri(entry["picture"], "image/png")
        figure = (picture, case, rank, entry["score"], classes.get(case, []))
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
