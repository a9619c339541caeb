"""One self-contained HTML page about a run, made from the files of its folder."""

import math
from collections import Counter

import jinja2

from transfuse_keras.evaluation.cases import choose_headline
from transfuse_keras.evaluation.figures import (
    data_uri,
    distributions,
    draw_reliability,
    label,
    learning_curves,
)
from transfuse_keras.evaluation.paper import beside_paper
from transfuse_keras.evaluation.report_files import (
    number,
    read_case_rows,
    read_exports,
    read_facts,
    read_history_rows,
    read_metrics,
    read_pictures,
)
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
from transfuse_keras.files import replacing

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
    names = shown_metrics(metrics)
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
        tables=[(columns, score_groups(metrics, columns)) for columns in divide_columns(names)],
        paper=beside_paper(metrics),
        subgroups=subgroup_rows(metrics.get("subgroups") or []),
        worst=find_worst(metrics.get("subgroups")),
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


def calibration(metrics):
    """The reliability of each class: (class, ECE, chart)."""
    for name, found in (metrics.get("calibration") or {}).items():
        yield name, found["ece"], draw_reliability(found["bins"], name)


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
