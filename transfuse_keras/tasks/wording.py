"""What was found in a data set, and what a plan makes of it, in words."""

from transfuse_keras.tasks.task import PARTLY_RANDOM, recipe_for


def describe_data(facts):
    names = ("training", "validation", "test")
    counts = [x if x else "no" for x in facts.counts]
    parts = ", ".join(f"{n} {name}" for n, name in zip(counts, names, strict=True))
    unit = "volumes" if facts.field else "images"
    of = f"of {facts.patients} patients" if facts.patients else "of unknown patients"
    return f"{parts} {unit} {of}"


def describe_pictures(facts):
    spacing = "x".join(f"{mm:g}" for mm in facts.spacing) + " mm" if facts.spacing else "unknown"
    if facts.field:
        channels = "1 channel" if facts.channels == 1 else f"{facts.channels} channels"
        shown = "x".join(f"{mm:g}" for mm in facts.field)
        return f"{channels}, pixel spacing {spacing}, slices show {shown} mm"
    kind = f"{'grey' if facts.grey else 'colour'}, {'more than ' * (facts.bits > 8)}8 bits"
    return f"{kind}, pixel spacing {spacing}"


def describe_classes(facts):
    names = ", ".join(facts.classes)
    if len(facts.classes) == 1:
        return names
    return f"{names}; {'they may overlap' if facts.overlap else 'a pixel has one class at most'}"


def describe_finding(facts):
    """Where the classes are from, and what is known of them besides."""
    pairs = ", ".join(f"{a} and {b}" for a, b in facts.mirror_pairs)
    told = [facts.found]
    told += [f"{facts.ignore} is left out"] * (facts.ignore is not None)
    told += [f"{pairs} are a left and right pair"] * bool(pairs)
    absent = [name for name, area in zip(facts.classes, facts.areas, strict=True) if not area]
    told += [f"no image that was read shows {', '.join(absent)}"] * bool(absent)
    return "; ".join(told)


def describe_batches(recipe):
    if recipe.foreground:
        return f"{100 * recipe.foreground:.0f} % of each batch shows a class"
    return "every image is shown equally often"


def describe_balance(facts):
    area, shown, name = min(zip(facts.areas, facts.shown, facts.classes, strict=True))
    which = f"{name} has" if len(facts.classes) == 1 else f"{name}, the rarest, has"
    unit = "slices" if facts.field else "images"
    told = f"{which} {100 * area:.2g} % of the pixels and is in {100 * shown:.0f} % of the {unit}"
    empty = f"; {100 - 100 * facts.filled:.0f} % of them show no class"
    return told + empty * (len(facts.classes) > 1 and facts.filled < 1)


def describe_start(weights):
    """What the training starts from, as --weights."""
    if weights in PARTLY_RANDOM:
        start = "ImageNet weights of the CNN, recipe scratch"
        return (
            start,
            f"of the package {weights}, {PARTLY_RANDOM[weights]}; the transformer is random",
        )
    if recipe_for(weights) == "paper":
        return "published weights, recipe paper", "they can be downloaded or are here already"
    return (
        "random weights, recipe scratch",
        "no published weights can be reached; docs/weights.md says how to get some, also by pip",
    )


def describe_changes(task):
    """What is changed at random."""
    a = task.augmentation
    flips = {(True, True): "both flips", (True, False): "left-right flips"}
    flips |= {(False, True): "up-down flips", (False, False): "no flips"}
    changes = [flips[a.flip_horizontal, a.flip_vertical], f"rotation up to {a.rotation:g} degrees"]
    changes += ["scale and shift" if a.shift else "scale"]
    changes += ["colour" if a.saturation or a.hue else "brightness and contrast"]
    changes += ["noise, blur and gamma"] if a.noise else []
    return ", ".join(changes)


def describe_scoring(facts, judged):
    unit = "mm" if facts.spacing else "pixels"
    threshold = "thresholds chosen on validation" if judged else "threshold 0.5"
    count = facts.counts[1]
    cases = "1 validation case is" if count == 1 else f"{count} validation cases are"
    return (
        f"Dice, IoU and distances in {unit}, {threshold}",
        f"{cases} {'enough' if judged else 'too few'} to choose thresholds by",
    )
