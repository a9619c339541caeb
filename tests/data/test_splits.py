"""Splits: a function of the names, which no later sample changes; folds; --limit."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
from data.files import binary_folder, hip_folder
from sklearn.model_selection import StratifiedGroupKFold

from transfuse_keras.data.layouts import find_samples
from transfuse_keras.data.splits import (
    complete_splits,
    find_splits,
    limit_samples,
    place_of,
    split_by_group,
    split_fold,
)
from transfuse_keras.errors import InputError
from transfuse_keras.tasks import Task, hip


def samples(count, each=2, words=("p",)):
    return [
        SimpleNamespace(name=f"{words[p % len(words)]}{p:04}_{i}", group=f"p{p:04}", slices=None)
        for p in range(count)
        for i in range(each)
    ]


def parts(splits):
    return {sample.name: part for part, members in splits.items() for sample in members}


@pytest.mark.parametrize("seed", range(20))
def test_adding_images_moves_no_other(seed):
    """Any order in which the groups come: all keep their part, unless one was empty without."""
    rng = random.Random(seed)
    groups = [f"{rng.choice(['p', 'IMG_', 'é'])}{rng.randrange(10**6)}" for _ in range(60)]
    known = [SimpleNamespace(name=x, group=x, slices=None) for x in dict.fromkeys(groups)]
    for count in range(30, len(known)):
        before = parts(split_by_group(known[:count], seed=seed))
        after = parts(split_by_group(known[: count + 1], seed=seed))
        empty = {"train", "val", "test"} - {
            "train" if x < 0.7 else "val" if x < 0.8 else "test"
            for x in (place_of(sample.group, seed) for sample in known[:count])
        }
        if not empty:
            assert {name: after[name] for name in before} == before


def test_the_ratio_holds_on_average():
    sizes = [len(part) for part in split_by_group(samples(5000, 1)).values()]
    # four standard deviations of binomial counts
    assert abs(sizes[0] - 3500) < 130 and abs(sizes[1] - 500) < 85 and abs(sizes[2] - 1000) < 115


@pytest.mark.parametrize("count", range(3, 12))
def test_every_part_has_a_group_and_no_group_is_in_two(count):
    for seed in range(50):
        found = split_by_group(samples(count), seed=seed)
        groups = [{sample.group for sample in part} for part in found.values()]
        assert all(groups) and sum(map(len, groups)) == len(set.union(*groups)) == count
    with pytest.raises(InputError, match="2 patients"):
        split_by_group(samples(2))


def test_a_split_is_the_same_for_ever():
    """A change of these would change which images a model that exists was trained on."""
    found = split_by_group(samples(12, 1))
    assert [x.group for x in found["val"]] == ["p0001", "p0011"]
    assert [x.group for x in found["test"]] == ["p0000", "p0006"]
    # printf 0:p0001 | sha256sum | head -c 12
    assert place_of("p0001", 0) == 0xC14B0C424C87 / 2**48
    assert place_of("Jose\u0301", 0) == place_of("Jos\xe9", 0)  # as macOS and as Linux has it


def test_a_folder_is_split_by_patient_and_says_how_many(tmp_path):
    listing = find_samples(hip, hip_folder(tmp_path, patients=8))
    splits = complete_splits(listing)
    groups = {part: {sample.group for sample in members} for part, members in splits.items()}
    assert set.union(*groups.values()) == {f"p{i}" for i in range(8)}
    assert sum(map(len, groups.values())) == 8
    for part, members in groups.items():
        assert f"{len(members)} patient{'s' * (len(members) > 1)} in {part}" in splits.notes[0]
    assert list(find_splits(hip, tmp_path)) == list(splits)


def test_too_few_images_of_which_nothing_tells_the_patient_are_called_images(tmp_path):
    few = binary_folder(tmp_path / "few", ["IMG_0001", "IMG_0002"])
    task = Task("t", ("lesion",))
    with pytest.raises(InputError, match=r"^2 images \(IMG_0001, IMG_0002\) .* at least 3\.$"):
        find_splits(task, few)
    with pytest.raises(InputError, match="^2 images cannot be divided into 5 folds"):
        find_splits(task, few, fold=(0, 5))
    with pytest.raises(InputError, match="^2 patients .* --group none"):
        find_splits(hip, hip_folder(tmp_path / "hip", patients=2), group=r"p\d")


# folds -----------------------------------------------------------------------------------------


def test_folds_of_images_are_scikit_learns_and_balance_the_kinds():
    cases = samples(45, 2, ("benign", "malignant", "normal"))
    names = [x.name for x in cases]
    order = np.argsort(names)
    kinds = [names[i].rstrip("0123456789_") for i in order]
    of = [cases[i].group for i in order]
    wanted = StratifiedGroupKFold(5, shuffle=True, random_state=12345).split(of, kinds, of)
    tested = []
    for k, (_, held_out) in enumerate(wanted):
        splits = split_fold(cases, k, 5)
        test = {sample.name for sample in splits["test"]}
        assert test == {names[order[i]] for i in held_out}
        counts = [sum(x.startswith(kind) for x in test) for kind in ("benign", "malig", "normal")]
        assert counts == [6, 6, 6]
        groups = [{sample.group for sample in splits[part]} for part in splits]
        assert all(groups) and sum(map(len, groups)) == len(set.union(*groups)) == 45
        tested += test
    assert sorted(tested) == sorted(names)


def test_folds_of_images_with_names_of_many_kinds():
    cases = [SimpleNamespace(name=x, group=x, slices=None) for x in "abcdefghijkl"]
    tested = [x.name for k in range(5) for x in split_fold(cases, k, 5)["test"]]
    assert sorted(tested) == list("abcdefghijkl")


# --limit ---------------------------------------------------------------------------------------


def test_a_limit_takes_from_as_many_groups_as_can_be():
    cases = samples(30, 4)
    few = limit_samples(cases, 30, seed=1)
    assert len({sample.group for sample in few}) == 30
    more = limit_samples(cases, 70, seed=1)
    assert set(x.name for x in few) < set(x.name for x in more) and len(more) == 70
    assert [x.name for x in more] == sorted(x.name for x in more)  # the given order
    assert limit_samples(cases, None) == limit_samples(cases, 500) == cases


def test_a_limit_is_a_seeded_sample_not_the_first_by_name():
    cases = samples(200, 1)
    first, again, other = (
        [cases.index(x) for x in limit_samples(cases, 40, seed)] for seed in (0, 0, 1)
    )
    assert first == again != other
    assert 60 < np.mean(first) < 140  # the first 40 have the mean 19.5
