"""Is the model as good everywhere: scores by device, hospital, sex and size of the lesion."""

from collections import Counter

import numpy as np

from transfuse_keras.evaluation.cases import SUBGROUP, add_penalties, choose_headline, list_metrics
from transfuse_keras.evaluation.statistics import summarize_scores

SIZE = "size of the truth"
FEWEST_DIVIDED = 9  # cases that are divided into thirds
# Codes of hospitals or devices, which are not divided: at most so many numbers, or whole ones
# that so many patients share on average.
MOST_NUMBERS, MOST_CODES, SHARED = 6, 30, 3


def summarize_subgroups(rows):
    """Scores of the cases of each subgroup.

    Subgroups are the columns "subgroup_<name>" with two values or more, of which one at least has
    two cases, and the thirds of the cases by the area or volume of their truth, all classes
    together. So is a column of many numbers, such as ages, but not one of codes, see `are_codes`.

    Args:
        rows: see `Evaluation`.

    Returns: list of {"subgroup": name, "value", "n": cases, "groups": patients, "scores":
    {metric: `summarize_scores`, a mean over classes}} with the metrics of `choose_headline`.
    """
    rows = add_penalties(rows)
    by_case = {}
    for row in rows:
        by_case.setdefault(row["case"], []).append(row)
    names = [key for key in rows[0] if key.startswith(SUBGROUP)]
    labels = {
        key.removeprefix(SUBGROUP): {case: of[0][key] for case, of in by_case.items()}
        for key in names
    }
    groups = {case: of[0].get("group", case) for case, of in by_case.items()}
    labels = {name: divide_numbers(values, groups) for name, values in labels.items()}
    labels |= {SIZE: divide_by_size(by_case)} if "truth_size" in rows[0] else {}
    metrics = choose_headline(list_metrics(rows[0]))
    found = []
    for name, values in labels.items():
        different = Counter(values.values())
        if len(different) < 2 or max(different.values()) < 2:
            continue
        for value in different if name == SIZE else sorted(different):
            cases = [by_case[case] for case in values if values[case] == value]
            found.append({"subgroup": name, "value": value or "not given"} | score(cases, metrics))
    return found


def score(cases, metrics):
    """What `summarize_subgroups` says of cases, lists of a row for each class."""
    groups = [rows[0].get("group", rows[0]["case"]) for rows in cases]
    scores = {}
    for metric in metrics:
        values = [[np.nan if x["truth_empty"] else x[metric] for x in rows] for rows in cases]
        scores[metric] = summarize_scores(np.array(values), groups)
    return {"n": len(cases), "groups": len(set(groups)), "scores": scores}


def divide_by_size(by_case):
    """Case -> third of the cases by the size of their truth, small ones first; empty truths and
    few cases have none."""
    sizes = {case: sum(row["truth_size"] for row in rows) for case, rows in by_case.items()}
    sizes = {case: size for case, size in sorted(sizes.items(), key=lambda x: x[1]) if size > 0}
    return divide_in_thirds(sizes, "small", "medium", "large")


def divide_numbers(values, groups):
    """Case -> third of its number instead of this, where the values, but for those that are not
    given, are numbers and no codes; else as they are. `groups`: case -> patient."""
    given = {case: text for case, text in values.items() if text}
    try:
        numbers = {case: float(text) for case, text in given.items()}
    except ValueError:
        return values
    if are_codes(numbers, groups):
        return values
    thirds = divide_in_thirds(numbers, "low", "medium", "high")
    return {**values, **thirds} if thirds else values


def are_codes(numbers, groups):
    """Whether numbers of cases stand for names, as of hospitals: few, or whole and shared."""
    different = set(numbers.values())
    patients = len({groups[case] for case in numbers})
    shared = patients >= SHARED * len(different) and len(different) <= MOST_CODES
    whole = all(number.is_integer() for number in different)
    return len(different) <= MOST_NUMBERS or (whole and shared)


def divide_in_thirds(numbers, small, medium, large):
    """Case -> name of its third; empty for few cases, or where most have the same number."""
    if len(numbers) < FEWEST_DIVIDED:
        return {}
    low, high = np.quantile(list(numbers.values()), (1 / 3, 2 / 3))
    if not low < high:
        return {}
    small, large = f"{small}, up to {spell(low)}", f"{large}, above {spell(high)}"
    return {
        case: small if number <= low else large if number > high else medium
        for case, number in numbers.items()
    }


def spell(number):
    """A number of four digits as people write it, without an exponent."""
    return f"{float(f'{number:.4g}'):,.15g}"


def find_worst(subgroups):
    """The subgroup of two patients or more with the lowest mean of the first score; None if none
    has one."""
    if not subgroups:
        return None
    first = next(iter(subgroups[0]["scores"]))
    scored = [x for x in subgroups if x["scores"][first]["groups"] > 1]
    return min(scored, key=lambda x: x["scores"][first]["mean"], default=None)
