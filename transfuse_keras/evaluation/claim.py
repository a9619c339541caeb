"""CLAIM: the checklist for reports of AI in medical imaging, filled as far as a run knows.

Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update,
Radiology: Artificial Intelligence 6(4), 2024, e240300. The items are told in our own words; the
authors' article is what counts.
"""

from transfuse_keras.evaluation.facts import name_part, tell_each

ITEMS = {
    "Title and abstract": (
        "Title names the kind of AI",
        "Abstract: design, methods, results, conclusions",
    ),
    "Introduction": (
        "Background, intended use and clinical role",
        "Aims and hypotheses",
    ),
    "Study design": (
        "Prospective or retrospective",
        "Goal of the study",
    ),
    "Data": (
        "Sources of the data",
        "Who and what was included and excluded",
        "Preprocessing",
        "Choice of a subset of the data",
        "De-identification",
        "Missing data",
        "How images were acquired",
    ),
    "Reference standard": (
        "How the reference standard is defined",
        "Why this reference standard",
        "Who annotated, with which qualification",
        "How the test set was annotated",
        "Variability between and within annotators",
    ),
    "Data partitions": (
        "How data was assigned to partitions",
        "Level at which partitions are disjoint",
    ),
    "Testing data": ("Intended size of the sample",),
    "Model": (
        "Architecture, inputs and outputs",
        "Libraries and versions",
        "Initial weights",
    ),
    "Training": (
        "Training, augmentation, hyperparameters",
        "How the final model was chosen",
        "Ensembles",
    ),
    "Evaluation": (
        "Measures of performance",
        "Uncertainty and significance",
        "Robustness or sensitivity",
        "Explainability",
        "Testing on internal data",
        "Testing on external data",
        "Registration of a clinical trial",
    ),
    "Results: data": (
        "Numbers included and excluded",
        "Demographic and clinical characteristics by partition",
    ),
    "Results: performance": (
        "Performance with its uncertainty",
        "Diagnostic performance with its precision",
        "Failure analysis",
    ),
    "Discussion": (
        "Limitations",
        "Implications for practice",
    ),
    "Other information": (
        "Full protocol",
        "Availability of software, model and data",
        "Funding",
    ),
}


def fill_checklist(metrics, configs, known, phantom):
    """The rows of the checklist: [(number, section, item, answer)], "" where the run knows none.

    Args:
        metrics: content of metrics.json.
        configs: contents of config.json, of each run that was scored.
        known: {name: text} of `facts_together`.
        phantom: whether the cases are artificial.
    """
    answers = answer_items(metrics, configs, known, phantom)
    items = [(section, item) for section, items in ITEMS.items() for item in items]
    return [
        (number, section, item, answers.get(number, ""))
        for number, (section, item) in enumerate(items, 1)
    ]


def answer_items(metrics, configs, known, phantom):
    """Item number -> what the run knows of it; numbers are those of the 2024 update."""
    groups, kind = metrics.get("groups"), name_part(metrics)
    patients = groups and groups < metrics["n"]  # else each case counts as its own
    training = [known.get(name) for name in ("Training", "Loss", "Augmentation")]
    subgroups = list(dict.fromkeys(of["subgroup"] for of in metrics.get("subgroups") or []))
    scored = f"{metrics['n']} cases" + (f" of {groups} patients" if patients else "")
    answers = {
        1: "Deep learning: segmentation by a CNN and a transformer in parallel.",
        7: "Drawn by a program; no patients." if phantom else f"Read from {metrics['data']}.",
        9: tell_each([describe_preprocessing(of) for of in configs], kind),
        19: known.get("Split"),
        20: "By patient where the data tells them, else by image; see split.csv." if known else "",
        22: known.get("Model"),
        23: known.get("Versions"),
        24: tell_each([describe_initial(of) for of in configs], kind),
        25: "; ".join(filter(None, training)),
        26: tell_each([describe_choice(of) for of in configs], kind),
        27: describe_ensemble(metrics),
        28: f"{metrics['protocol']}.",
        29: f"Bootstrap 95 % intervals over {'patients' if patients else 'cases'}; see Scores."
        if groups
        else "",
        30: f"Scores by {', '.join(subgroups)}; see Subgroups." if subgroups else "",
        32: f"{scored}; see Scores." if any(configs) else "",
        35: known.get("Images"),
        37: f"{scored}; see Scores.",
        39: "See Cases, sorted by failure"
        + ("; and which class is taken for which." if metrics.get("confusion") else "."),
        40: "See What this model is not for.",
        43: "Software: transfuse-keras, Apache-2.0.",
    }
    return {number: answer for number, answer in answers.items() if answer}


def describe_ensemble(metrics):
    if metrics.get("averaged"):
        return f"The mean of the probabilities of {len(metrics['averaged'])} models."
    return "None: one model for each fold." if metrics.get("folds") else "None: one model."


def describe_preprocessing(config):
    task, recipe = config.get("task") or {}, config.get("recipe") or {}
    if not (size := recipe.get("image_size")):
        return ""
    steps = [f"Resized to {size[0]} x {size[1]} pixels"]
    if task.get("field"):
        steps = [f"{steps[0]} that show {task['field']} mm, z-scored"]
    if task.get("value_range"):
        steps.append("values from {:g} to {:g} shown".format(*task["value_range"]))
    if recipe.get("white_balance"):
        steps.append("the mean colour of the training images given to each")
    return ", ".join(steps) + "."


def describe_initial(config):
    if "weights" not in config:
        return ""
    return f"From {config['weights']}." if config["weights"] else "Random numbers by the seed."


def describe_choice(config):
    if "recipe" not in config:
        return ""
    if config.get("validation", True):
        return "The epoch with the best Dice on the validation images."
    return "The last epoch; there were no validation images."
