"""This run beside the paper: the same variant and protocol, of polyps also the same test set."""

import re
from pathlib import Path

from transfuse_keras.evaluation.cases import PENALIZED

# how PraNet's folders and the data sets' own names are written -> as the paper's Table 1 has it
SETS = {
    "kvasir": "Kvasir",
    "cvcclinicdb": "ClinicDB",
    "clinicdb": "ClinicDB",
    "cvc612": "ClinicDB",
    "cvccolondb": "ColonDB",
    "colondb": "ColonDB",
    "cvc300": "EndoScene",
    "endoscene": "EndoScene",
    "cvcendoscene": "EndoScene",
    "etis": "ETIS",
    "etislarib": "ETIS",
    "etislaribpolypdb": "ETIS",
}


def beside_paper(metrics, configs=()):
    """The paper's figures of this variant for which this run has a score of the same protocol.

    Args:
        metrics: content of metrics.json; "paper" as `Task.paper`.
        configs: contents of config.json of the runs that were scored. A part of the data that they
            were trained on is no test set of the paper, whatever it is called.

    Returns: list of (class or set, cases, metric, the paper's, this run's, difference); empty for
    phantoms and for variants that the paper does not have. A distance is the one with penalty.
    """
    if metrics["data"] == "phantom":
        return []
    ours = {"mean": (metrics["mean"], metrics["n"])}
    ours |= {name: (of, of.get("n")) for name, of in metrics["classes"].items()}
    ours |= {paper_set(name): (of["mean"], of["n"]) for name, of in find_sets(metrics, configs)}
    rows = []
    for name, figures in (metrics.get("paper") or {}).get(metrics["variant"], {}).items():
        scores, count = ours.get(name, ({}, None))
        for metric, theirs in figures.items():
            found = f"{PENALIZED}{metric}" if f"{PENALIZED}{metric}" in scores else metric
            own = scores.get(found)
            if own is not None and own == own:
                rows.append((name, count, found, theirs, own, own - theirs))
    return rows


def find_sets(metrics, configs):
    """(folder, scores) of the test sets that were scored."""
    if str(Path(metrics["data"]).resolve()) not in {config.get("data") for config in configs}:
        return (metrics.get("sets") or {metrics["data"]: metrics}).items()
    named = (metrics.get("sets") or {}).items()
    folds = any(config.get("fold") for config in configs)  # they divide the test sets, too
    return [(x, of) for x, of in named if x.startswith("TestDataset/") and not folds]


def paper_set(path):
    """The paper's name of a test set, by the name of its folder: "TestDataset/CVC-300" is
    EndoScene. None for another."""
    parts = re.split(r"[/\\]", str(path).rstrip("/\\"))
    return SETS.get(re.sub("[^a-z0-9]", "", parts[-1].lower()))
