"""What a reader asks of a run: what was trained on what, how, when, where, with which versions."""

from datetime import datetime

from transfuse_keras.errors import quantity
from transfuse_keras.versions import describe_versions

LOSS = "boundary-weighted IoU + binary cross entropy (StructureLoss) on each output"
SHARES = ("scale", "shift", "brightness", "contrast", "saturation", "hue")
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


def facts(metrics, config, sessions, split):
    """The facts of a run, as far as they are known: {name: text}.

    Args:
        metrics: content of metrics.json.
        config: content of config.json.
        sessions: see `read_sessions`.
        split: rows of split.csv.
    """
    recipe, seconds = config.get("recipe") or {}, metrics.get("seconds_per_case")
    found = {
        "Model": describe_model(metrics["variant"], config),
        "Training": describe_training(recipe, config),
        "Loss": describe_loss(recipe) if recipe else "",
        "Augmentation": describe_augmentation(
            (config.get("task") or {}).get("augmentation"), recipe.get("pen_marks", 0)
        ),
        "Images": describe_split([split], name_sample(config)),
        "Split": " ".join(config.get("split") or ()),
        "Training time": describe_time(sessions),
        "Computed on": ", ".join(dict.fromkeys(x for of in sessions for x in of["devices"])),
        "Command": sessions[0]["command"] if sessions else "",
        "Versions": describe_versions((sessions[-1] if sessions else config).get("versions") or {}),
        "Scored on": metrics.get("scored") or "",
        "Prediction": f"{seconds:.2g} s per case" if seconds else "",
    }
    return {name: text for name, text in found.items() if text}


def facts_together(metrics, runs):
    """The facts of all runs that were scored together, see `facts`: of the folds of a
    cross-validation or of models that are averaged.

    Args:
        metrics: content of metrics.json.
        runs: list of (config, sessions, split), one a run.
    """
    each = [facts(metrics, *run) for run in runs]
    if len(runs) == 1:
        return each[0]
    kind = name_part(metrics)
    configs, sessions, splits = zip(*runs, strict=True)
    names = dict.fromkeys(name for found in each for name in found)
    found = {name: tell_each([of.get(name, "") for of in each], kind) for name in names}
    told = dict.fromkeys(text for config in configs for text in config.get("split") or ())
    time, images = describe_time(sum(sessions, [])), describe_split(splits, name_sample(configs[0]))
    pooled = {
        "Images": images and f"of each {kind}: {images}",
        "Split": " ".join(told),
        "Training time": time and f"{time}, of all {len(runs)} {kind}s together",
    }
    return found | {name: text for name, text in pooled.items() if text}


def name_part(metrics):
    """What runs that were scored together are called."""
    return "fold" if metrics.get("folds") else "model"


def tell_each(texts, kind):
    """What is true of each of several runs: one text if it is the same of all."""
    if len(set(texts)) == 1:
        return texts[0]
    return "; ".join(f"{kind} {number}: {text or 'unknown'}" for number, text in enumerate(texts))


def describe_loss(recipe):
    parts = [LOSS]
    if recipe.get("focal"):
        parts.append(f"focal cross entropy of power {recipe['focal']:g}")
    if recipe.get("class_weights"):
        parts.append(f"classes weighted {', '.join(f'{x:g}' for x in recipe['class_weights'])}")
    return "; ".join(parts)


def name_model(variant):
    return "TransFuse" if variant == "unknown" else f"TransFuse {variant}"


def describe_model(variant, config):
    recipe, model = config.get("recipe") or {}, [name_model(variant)]
    if "image_size" in recipe:
        model.append("{} x {} pixels".format(*recipe["image_size"]))
    if context := (config.get("task") or {}).get("context"):
        model.append(f"each slice with {context} on either side (2.5D)")
    if "weights" in config:
        model.append(f"weights {config['weights']}" if config["weights"] else "from scratch")
    return ", ".join(model)


def describe_training(recipe, config):
    keys = ("epochs", "batch_size", "learning_rate")
    training = [f"{key.replace('_', ' ')} {recipe[key]}" for key in keys if key in recipe]
    if "seed" in config:
        training.append(f"seed {config['seed']}")
    return ", ".join(training)


def describe_augmentation(augmentation, pen_marks):
    """The changes of an Augmentation as plain data, and those of a Recipe; "none" if it has none,
    "" if not known."""
    if augmentation is None:
        return ""
    parts = []
    for name, value in augmentation.items():
        if not value or name == "probability":
            continue
        if name in SHARES and isinstance(value, float):
            parts.append(f"{name} ±{100 * value:g} %")
        elif name == "rotation" and isinstance(value, int | float):
            parts.append(f"rotation ±{value:g}°")
        else:
            parts.append(name.replace("_", " ") + ("" if value is True else f" {value}"))
    if pen_marks:
        parts.append(f"marks of a pen, {pen_marks} at most")
    return ", ".join(parts) or "none"


def name_sample(config):
    """What a sample of a run is: "image" or "volume"."""
    return "volume" if (config.get("task") or {}).get("field") else "image"


def describe_split(splits, unit="image"):
    """ "training 294 images of 12 patients, validation ...", from the rows of split.csv of one run
    or more; without patients where nothing tells them."""
    texts = {name: count_part(splits, part, unit) for part, name in SPLIT_NAMES.items()}
    return ", ".join(f"{name} {text}" for name, text in texts.items() if text)


def count_part(splits, part, unit="image"):
    """ "294 images of 12 patients", or of several runs "290 to 294 images of 12 patients"."""
    images, patients = zip(*(count_split(split, part) for split in splits), strict=True)
    texts = [spell_span(images, unit), spell_span(patients, "patient")]
    return " of ".join(filter(None, texts))


def spell_span(counts, noun):
    low, high = min(counts), max(counts)
    return ("" if low == high else f"{low} to ") + quantity(high, noun) if high else ""


def count_split(split, part="train"):
    """(images, patients) of a part of the rows of split.csv; 0 for what is not known."""
    rows = [row for row in split if row["split"] == part]
    # an image of which nothing tells the patient has its own name as group
    told = not {row["group"] for row in split} <= {row["sample"] for row in split}
    return len(rows), len({row["group"] for row in rows}) if told else 0


def describe_time(sessions):
    """ "1 h 2 min, begun 2026-11-28 14:03", or of several sessions their number too."""
    if not sessions:
        return ""
    long = describe_duration(sum(float(of["seconds"]) for of in sessions))
    begun = datetime.fromisoformat(sessions[0]["begun"]).strftime("%Y-%m-%d %H:%M %Z")
    resumed = f", in {len(sessions)} sessions" if len(sessions) > 1 else ""
    return f"{long}{resumed}, begun {begun}"


def describe_duration(seconds):
    """ "1 h 2 min", "2 min 5 s" or "5 s"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
