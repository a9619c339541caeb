"""One self-contained HTML page about a run, made from the files of its folder."""

import math
from collections import Counter

import jinja2
import numpy as np

from transfuse_keras.data.pictures import color_of
from transfuse_keras.evaluation.agreement import measure_agreement
from transfuse_keras.evaluation.case_table import (
    label_failures,
    rank_cases,
    summarize_classes,
    tabulate_cases,
)
from transfuse_keras.evaluation.claim import fill_checklist
from transfuse_keras.evaluation.facts import (
    count_part,
    facts_together,
    name_model,
    name_sample,
)
from transfuse_keras.evaluation.failures import RULE
from transfuse_keras.evaluation.figures import (
    distributions,
    draw_agreement,
    draw_reliability,
    label,
    learning_curves,
    spoken,
)
from transfuse_keras.evaluation.paper import beside_paper
from transfuse_keras.evaluation.pictures import embed_pictures
from transfuse_keras.evaluation.report_files import (
    read_case_rows,
    read_exports,
    read_facts,
    read_history_rows,
    read_metrics,
    read_number,
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
from transfuse_keras.runs.folder import SPLIT, find_run, read_split
from transfuse_keras.runs.sessions import read_sessions

WORST_SHOWN = 4  # of the worst cases, at the top
REASONS = {  # (truth empty, prediction empty) -> why a score has no value
    (False, True): "prediction empty",
    (True, False): "truth empty",
    (True, True): "both empty",
    (False, False): "not known",
}


def write_report(run, metrics=None):
    """Write report.html of a run.

    Args:
        run: Path of the folder of a run, an evaluation or a cross-validation. Sections about
            files that it lacks are left out.
        metrics: the content of metrics.json, which is read if None.

    Raises: InputError if metrics.json is missing, or one of the files is damaged.
    """
    if metrics is None:
        metrics = read_metrics(run / "metrics.json")
    names = shown_metrics(metrics)
    rows = label_failures(read_case_rows(run / "cases.csv", names))
    history, exports = read_history_rows(run / "history.csv"), read_exports(run / "export.json")
    found = read_pictures(run)
    homes = find_scored_runs(run, metrics)
    configs = [read_facts(home / "config.json") for home in homes]
    splits = [read_split(home) if (home / SPLIT).is_file() else [] for home in homes]
    made = list(zip(configs, map(read_sessions, homes), splits, strict=True))
    known, phantom = facts_together(metrics, made), metrics["data"] == "phantom"
    scores = rank_cases(rows)
    pictures = embed_pictures({case: found[case] for case in scores if case in found})
    page = load_report_template().render(
        metrics=metrics,
        model=name_model(metrics["variant"]),
        phantom=phantom,
        headline=summarize_classes(metrics, rows),
        rule=RULE,
        colors={name: color_of(i) for i, name in enumerate(metrics["classes"])},
        worst=list_worst(scores, rows, pictures),
        table=tabulate_cases(metrics, rows, pictures),
        unpictured=len(found) - len(pictures),
        failed=sum(bool(row["failure"]) for row in rows),
        facts=known,
        trained=count_part(splits, "train", name_sample(configs[0])),
        origins=list(dict.fromkeys(of.get("data", metrics["data"]) for of in configs)),
        models=len(homes),
        claim=fill_checklist(metrics, configs, known, phantom),
        tables=[(columns, score_groups(metrics, columns)) for columns in divide_columns(names)],
        paper=beside_paper(metrics, configs),
        subgroups=subgroup_rows(metrics),
        lowest=find_worst(metrics.get("subgroups")),
        overviews=overviews(metrics, names),
        distributions=distributions(rows, names, metrics.get("sets") or ()),
        agreement=list(agreement(metrics, rows)),
        confusion=confusion_rows(metrics),
        curves=learning_curves(history),
        calibration=list(calibration(metrics)),
        trust=list(trust_rows(metrics)),
        undefined=count_undefined(rows, names),
        exports=exports,
    )
    with replacing(run / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")


def load_report_template():
    loader = jinja2.PackageLoader("transfuse_keras.evaluation", ".")
    jinja = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    jinja.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    jinja.policies["json.dumps_kwargs"]["ensure_ascii"] = False
    jinja.filters |= {"label": label, "score": format_score, "decimals": decimals}
    jinja.filters |= {"spoken": spoken, "size": format_size}
    jinja.filters["exponent"] = lambda value: f"{value:.1e}" if value else "0"
    return jinja.get_template("report.html")


def find_scored_runs(folder, metrics):
    """The runs that were scored: the folds of a cross-validation, the models that were averaged, or
    one: the folder itself, the one it lies in, or that of the model."""
    if (folder / "fold-0").is_dir():
        return [folder / f"fold-{part['fold']}" for part in metrics["folds"]]
    averaged = [find_run(path) for path in metrics.get("averaged") or ()]
    if averaged and all(averaged):
        return averaged
    return [find_run(folder) or find_run(str(metrics.get("model", folder))) or folder]


def list_worst(scores, rows, pictures):
    """The cases at the top: [(case, Dice, [(class, failure)], picture)]."""
    return [
        (
            case,
            score,
            [
                (spoken(row["class"]), row["failure"])
                for row in rows
                if row["case"] == case and row["failure"]
            ],
            pictures[case],
        )
        for case, score in [item for item in scores.items() if item[0] in pictures][:WORST_SHOWN]
    ]


def agreement(metrics, rows):
    """The agreement of the sizes of each class: (class, cases, bias, low, high, chart)."""
    unit, classes = metrics.get("size_unit"), list(metrics["classes"])
    for name, found in measure_agreement(rows).items() if unit else ():
        picture = draw_agreement(found, unit, color_of(classes.index(name)))
        yield name, len(found["means"]), *(found[x] for x in ("bias", "low", "high")), picture


def format_size(value):
    """An area or volume with four digits, with the real minus sign; an en dash for no value."""
    if value != value:
        return "–"
    return decimals(value, max(0, 3 - int(math.log10(abs(value) or 1))))


def confusion_rows(metrics):
    """The table of which class is taken for which: {"heads", "rows": [(class, [percent])], "whole":
    whether it is percent of the true pixels, which earlier releases did not keep}."""
    counts = metrics.get("confusion")
    if not counts:
        return None
    names = ["background", *map(spoken, metrics["classes"])]
    counts = np.array(counts, float)
    known = metrics.get("true_pixels")
    totals = np.array(known, float)[:, None] if known else counts.sum(axis=1, keepdims=True)
    shares = np.divide(100 * counts, totals, np.full_like(counts, np.nan), where=totals > 0)
    rows = [[decimals(share, 1) for share in of] for of in shares]
    return {"heads": names, "rows": list(zip(names, rows, strict=True)), "whole": bool(known)}


def calibration(metrics):
    """The reliability of each class: (class, ECE, chart)."""
    for name, found in (metrics.get("calibration") or {}).items():
        yield name, found["ece"], draw_reliability(found["bins"], spoken(name))


def trust_rows(metrics):
    """The table of how well single predictions can be trusted: (class, texts of the figures)."""
    found = metrics.get("trust") or {}
    for name, quality in (found.get("quality") or {}).items():
        figures = [(quality[x], 2) for x in ("correlation", "rank_correlation", "mean_error")]
        texts = ["–" if x is None else decimals(x, digits) for x, digits in figures]
        scaled = decimals(found["temperature"][name], 2), decimals(found["ece"][name], 4)
        yield spoken(name), [*scaled, str(quality["cases"]), *texts]


def count_undefined(rows, names):
    """How many pairs of case and class have no value in some metric: {reason: count}, missed
    cases first."""
    found = Counter()
    for row in rows:
        if any(name in row and math.isnan(read_number(row[name])) for name in names):
            found[REASONS[row["truth_empty"] == "True", row["prediction_empty"] == "True"]] += 1
    return {reason: found[reason] for reason in REASONS.values() if found[reason]}
