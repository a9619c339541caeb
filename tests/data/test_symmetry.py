"""Sides and mirror images, on discs whose places are known."""

import numpy as np
import pytest
from data.files import disc

from transfuse_keras.data.symmetry import find_sides, find_symmetry, shrink

RNG = np.random.default_rng(0)


def bodies(*columns, count=12, row=15):
    """Maps of one disc a class, at these columns of 40, each image a little elsewhere."""
    found = []
    for _ in range(count):
        shift = RNG.integers(-2, 3, 2)
        masks = [disc(1, 5, (row + shift[0], column + shift[1])) for column in columns]
        found.append(shrink(np.stack(masks, axis=-1)))
    return found


@pytest.mark.parametrize(
    ("classes", "pairs", "sided"),
    [
        (("pelvis", "left_femur", "right_femur"), {("left_femur", "right_femur")}, False),
        (("Lung L", "Lung R", "heart"), {("Lung L", "Lung R")}, False),
        (("left_kidney", "spine"), set(), True),
        (("bright", "leftover"), set(), False),
    ],
)
def test_names_tell_the_sides(classes, pairs, sided):
    assert find_sides(classes, []) == (tuple(pairs), sided)


def test_places_tell_the_sides_where_names_do_not():
    assert find_sides(("a", "b", "c"), bodies(20, 8, 31)) == ((("b", "c"),), False)
    assert find_sides(("a", "b"), bodies(20, 8)) == ((), False)
    assert find_sides(("a", "b"), bodies(8, 31, count=5)) == ((), False)  # too few to tell


def test_a_mirrored_image_is_likely_where_the_classes_lie_alike_in_it():
    pair = (("a", "b"),)
    sideways, upright = find_symmetry(("a", "b"), pair, bodies(8, 31))
    assert sideways > 0.8 and upright > 0.8
    assert find_symmetry(("a", "b"), (), bodies(8, 31))[0] < 0.1
    heart, upside_down = find_symmetry(("a",), (), bodies(26, row=8))
    assert heart < 0.5 and upside_down < 0.1
    anywhere = [disc(1, 6, tuple(RNG.integers(5, (25, 35)))) for _ in range(200)]
    assert min(find_symmetry(("a",), (), [shrink(x[..., None]) for x in anywhere])) > 0.8
    assert find_symmetry(("a",), (), bodies(20, count=7)) is None
