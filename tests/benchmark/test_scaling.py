"""The images that benchmarks/scaling.py measures on, and that its measurements run."""

import cv2
import numpy as np

from benchmarks.scaling import DISC, measure_images, write_discs


def test_no_two_discs_are_alike_and_each_is_bright_where_its_mask_is(tmp_path):
    write_discs(tmp_path, 12)
    images, masks = (
        [cv2.imread(str(file)) for file in sorted((tmp_path / part).iterdir())]
        for part in ("images", "masks")
    )
    assert len(images) == len(masks) == len({image.tobytes() for image in images}) == 12
    for image, mask in zip(images, masks, strict=True):
        assert image.shape == (*DISC, 3) and set(np.unique(mask)) == {0, 255}
        np.testing.assert_array_equal(image.max(axis=2) >= 120, mask[..., 0] == 255)


def test_all_that_is_done_with_images_is_measured():
    times, memory = measure_images(40)
    assert all(seconds > 0 for seconds in times.values()) and len(times) == 4
    assert memory["MB at most"] > 0
