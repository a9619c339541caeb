"""Areas, diameters and volumes against formulas, scikit-image and SimpleITK."""

import numpy as np
import pytest
import SimpleITK
from skimage.measure import find_contours, label, regionprops

from transfuse_keras.metrics.sizes import measure_plane, measure_volume


def ellipse(a, b, degrees, spacing=(1.0, 1.0), size=(120, 150)):
    """An ellipse of the semi-axes a and b in mm."""
    y, x = np.mgrid[: size[0], : size[1]]
    y, x = (y - size[0] / 2) * spacing[0], (x - size[1] / 2) * spacing[1]
    turn = np.radians(degrees)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


@pytest.mark.parametrize("degrees", [0, 20, 45, 71, 90, 130])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.8)])
def test_an_ellipse_has_the_sizes_of_its_formula(degrees, spacing):
    found = measure_plane(ellipse(25, 11, degrees, spacing), spacing)
    assert found["parts"] == 1
    assert found["area"] == pytest.approx(np.pi * 25 * 11, rel=0.01)
    assert found["longest"] == pytest.approx(50, abs=1)
    assert found["perpendicular"] == pytest.approx(22, abs=1)


def test_hand_drawn_shapes():
    mask = np.zeros((12, 14), "uint8")
    assert measure_plane(mask) == {"parts": 0, "area": 0.0}
    mask[4, 5] = 1
    one = measure_plane(mask, (2.0, 3.0))
    assert one == {"parts": 1, "area": 6.0, "longest": 3.0, "perpendicular": pytest.approx(2.0)}
    mask[4, 2:12] = 1  # ten pixels side by side
    line = measure_plane(mask, (0.5, 0.5))
    assert (line["area"], line["longest"]) == (2.5, 5.0)
    assert line["perpendicular"] == pytest.approx(0.5)
    mask[9:11, 2] = mask[9, 3] = 1  # a second, smaller part counts for the area alone
    both = measure_plane(mask, (0.5, 0.5))
    assert (both["parts"], both["area"], both["longest"]) == (2, 3.25, 5.0)


def test_the_longest_diameter_and_the_area_are_those_of_other_software():
    rng = np.random.default_rng(0)
    for _ in range(8):
        spacing = tuple(rng.uniform(0.3, 2, 2))
        mask = np.zeros((40, 50), bool)
        for _ in range(4):
            y, x = rng.integers(5, 25, 2)
            mask[y : y + rng.integers(5, 12), x : x + rng.integers(5, 20)] = True
        labels = label(mask, connectivity=1)
        part = labels == max(regionprops(labels), key=lambda x: x.area).label
        points = np.concatenate(find_contours(part.astype(float), 0.5)) * spacing
        longest = max(np.linalg.norm(points - point, axis=1).max() for point in points)
        found = measure_plane(mask, spacing)
        assert found["longest"] == pytest.approx(longest)
        image = SimpleITK.GetImageFromArray(mask.astype("uint8"))
        image.SetSpacing(spacing[::-1])
        shapes = SimpleITK.LabelShapeStatisticsImageFilter()
        shapes.Execute(image)
        assert found["area"] == pytest.approx(shapes.GetPhysicalSize(1))
        (isotropic,) = regionprops(part.astype("uint8"))
        assert measure_plane(part)["longest"] == pytest.approx(isotropic.feret_diameter_max)


def test_the_perpendicular_diameter_is_the_longest_across_the_hull():
    mask = ellipse(30, 9, 33) | ellipse(8, 25, 33)
    found = measure_plane(mask)
    points = np.concatenate(find_contours(mask.astype(float), 0.5))
    apart = points[:, None] - points
    start, end = np.unravel_index((apart**2).sum(-1).argmax(), apart.shape[:2])
    along = apart[start, end] / np.linalg.norm(apart[start, end])
    across = apart @ (-along[1], along[0])
    nearly = np.abs(apart @ along) < 0.35  # pairs of points on one line across
    assert found["perpendicular"] == pytest.approx(np.abs(across[nearly]).max(), abs=0.3)


def test_a_volume_has_the_sizes_of_its_largest_slice_and_the_volume_of_all():
    z, y, x = np.mgrid[:20, :40, :50]
    ball = ((z - 9) * 3) ** 2 + ((y - 20) * 1.5) ** 2 + (x - 22) ** 2 <= 18**2
    ball[18:, :4, :4] = True  # a second part
    whole, slices = measure_volume(ball, (3.0, 1.5, 1.0))
    image = SimpleITK.GetImageFromArray(ball.astype("uint8"))
    image.SetSpacing((1.0, 1.5, 3.0))
    shapes = SimpleITK.LabelShapeStatisticsImageFilter()
    shapes.Execute(image)
    assert whole["volume"] == pytest.approx(shapes.GetPhysicalSize(1))
    assert whole["parts"] == 2 and sorted(slices) == [*range(4, 17), 19, 20]
    assert whole["longest"] == slices[10]["longest"] == pytest.approx(37.5)
    assert whole["perpendicular"] == pytest.approx(37)  # rows of 1.5 mm, columns of 1 mm
    empty = measure_volume(np.zeros((3, 4, 5), "uint8"), (1.0, 1.0, 1.0))
    assert empty == ({"parts": 0, "volume": 0.0}, {})
