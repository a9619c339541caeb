"""The validation cases, predicted once and counted, for thresholds, sure components and trust."""

from dataclasses import dataclass

import numpy as np

from transfuse_keras.data.resize import IGNORED
from transfuse_keras.inference.masks import sure_components
from transfuse_keras.inference.predict import predict_samples
from transfuse_keras.metrics.temperature import LOGIT_BINS, find_bins
from transfuse_keras.tasks.plan import JUDGES

GRID = tuple(np.round(np.arange(0.05, 1, 0.05), 2).tolist())  # the thresholds that "auto" tries


@dataclass(frozen=True)
class CaseCounts:
    """What is known of one class of one case.

    Attributes:
        pixels, eligible: histograms over the bins of `Counter`: of all pixels that count, and of
            those that become part of the mask if they reach its threshold.
        dices: Dice of the mask at each threshold.
        shown: whether the truth is not empty.
        sure_dices: Dice of the sure components of the mask at each threshold.
        sure: index of a threshold -> the same as `eligible` of these, where they are not all.
    """

    pixels: np.ndarray
    eligible: np.ndarray
    dices: np.ndarray
    shown: bool
    sure_dices: np.ndarray
    sure: dict[int, np.ndarray]


class Counter:
    """Histograms over the bins of `count_logits`, each bin that holds a threshold cut in two there.

    Bins and thresholds both rise with the probability, so a pixel's bin here is its bin there and
    the number of thresholds that it reaches, added.

    Args:
        grid: rising thresholds.
    """

    def __init__(self, grid):
        self.grid = np.asarray(grid, "float32")  # compared as of `to_masks`
        self.starts = find_bins(self.grid) + 1 + np.arange(len(grid))  # from here on reached
        bins = np.arange(LOGIT_BINS + len(grid))
        self.coarse = bins - np.searchsorted(self.starts, bins, side="right")

    def place(self, maps):
        """The bin of each probability, of the shape of the maps."""
        return find_bins(maps) + np.searchsorted(self.grid, maps, side="right")

    def count(self, places):
        return np.bincount(places, minlength=len(self.coarse)).astype("uint32")

    def reached(self, histogram):
        """How many pixels reach each threshold."""
        return histogram[::-1].cumsum(dtype="int64")[::-1][self.starts]

    def merge(self, histogram, threshold=None):
        """The histogram over the bins of `count_logits`, of the pixels that reach the threshold
        of this index, or of all."""
        start = 0 if threshold is None else self.starts[threshold]
        return np.bincount(self.coarse[start:], histogram[start:], LOGIT_BINS)


@dataclass(frozen=True)
class Validation:
    """Validation cases, counted.

    Attributes:
        grid: the thresholds that were counted at.
        counter: Counter.
        cases: class -> list of CaseCounts.
        total: (2, M, LOGIT_BINS), `count_logits` of all cases together.
    """

    grid: tuple
    counter: Counter
    cases: dict[str, list[CaseCounts]]
    total: np.ndarray


def count_validation(predictor, samples, task, grid, flips=""):
    """Predict samples and count what becomes of them at several thresholds.

    Args:
        predictor, samples, task, flips: as of `evaluate`.
        grid: rising thresholds.

    Returns: Validation; it holds 33 kB for each case and class, whatever the size of the images,
    and 16 kB more for each threshold at which not all components are sure.
    """
    counter, cases = Counter(grid), {name: [] for name in task.classes}
    total = np.zeros((2, len(task.classes), LOGIT_BINS))
    for _, _, truth, whole, _ in predict_samples(predictor, samples, task, flips):
        counted = (truth != IGNORED).all(axis=-1)
        maps, truth = whole[counted], truth[counted] == 1
        best, places = maps.argmax(axis=-1), counter.place(maps)
        for k, name in enumerate(task.classes):
            own = places[:, k]
            can = best == k if task.exclusive else np.ones(len(own), bool)
            pixels, true = counter.count(own), counter.count(own[truth[:, k]])
            eligible, hit = counter.count(own[can]), counter.count(own[can & truth[:, k]])
            size, hits, found = true.sum(), counter.reached(hit), counter.reached(eligible)
            dices = np.where(size + found, 2 * hits / np.maximum(size + found, 1), 1.0)
            sure, sure_dices = {}, dices.copy()
            if task.field is None and (task.sure is None or name in task.sure):
                most = whole.argmax(axis=-1) == k if task.exclusive else True
                for t, mask in cut_masks(whole[..., k], most, counter.grid):
                    kept = mask[counted]
                    sure[t], both = counter.count(own[kept]), size + kept.sum()
                    sure_dices[t] = 2 * (kept & truth[:, k]).sum() / both if both else 1.0
            cases[name].append(CaseCounts(pixels, eligible, dices, bool(size), sure_dices, sure))
            total[:, k] += counter.merge(pixels), counter.merge(true)
    return Validation(tuple(grid), counter, cases, total)


def cut_masks(probabilities, most, grid):
    """The sure components of the masks in which not all are sure: pairs of (index of the threshold,
    bool (H, W)).

    Args:
        probabilities: (H, W) of one class.
        most: bool (H, W) where it is the most probable class, or True where that does not count.
        grid: thresholds.
    """
    for t, threshold in enumerate(grid):
        mask = ((probabilities >= threshold) & most).astype("uint8")
        kept = sure_components(mask, probabilities)
        if (kept != mask).any():
            yield t, kept.astype(bool)


def average_dices(cases, sure=False):
    """The mean Dice of a class at each threshold over the CaseCounts that show it, of its sure
    components alone or of all; None if none shows it."""
    shown = [case.sure_dices if sure else case.dices for case in cases if case.shown]
    return np.mean(shown, axis=0) if shown else None


def count_shown(cases):
    """How many of the CaseCounts of a class show it."""
    return sum(case.shown for case in cases)


def choose_sure(validation, task):
    """The classes of which only sure components are to stay: those of the task or, where it says
    None, those whose best mean Dice on validation cases rises by it, of JUDGES that show it."""
    if task.sure is not None:
        return task.sure
    return tuple(
        name
        for name, cases in validation.cases.items()
        if count_shown(cases) >= JUDGES
        and average_dices(cases, sure=True).max() > average_dices(cases).max()
    )


def choose_thresholds(validation, sure=(), fewest=1):
    """The threshold of each class with the best mean Dice on validation cases.

    Args:
        validation: Validation.
        sure: the classes of which only sure components stay.
        fewest: how many cases must show a class.

    Returns: class -> one of its grid; the one closest to 0.5 for a class that fewer cases show,
    and where several are equally good.
    """
    grid, chosen = np.array(validation.grid), {}
    for name, cases in validation.cases.items():
        judged = count_shown(cases) >= fewest
        means = average_dices(cases, name in sure)
        ties = grid[means >= means.max() - 1e-9] if judged else grid
        chosen[name] = float(ties[np.abs(ties - 0.5).argmin()])
    return chosen


def describe_thresholds(thresholds, validation):
    """A sentence on thresholds that a training chose, class -> value."""
    told = f"Thresholds: {', '.join(f'{name} {x:g}' for name, x in thresholds.items())}."
    few = [name for name, cases in validation.cases.items() if count_shown(cases) < JUDGES]
    if few:
        told += f" Fewer than {JUDGES} validation cases show {', '.join(few)}: 0.5 is taken."
    return told
