"""All images of a split in one array, decoded and resized once."""

import logging
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from transfuse_keras.data.context import Stacks
from transfuse_keras.data.memory import available_memory, temporary_in_memory
from transfuse_keras.data.resize import crop_field, crop_masks, resize_image, resize_masks
from transfuse_keras.data.samples import Sample
from transfuse_keras.data.threads import one_thread_each

log = logging.getLogger(__name__)


def read_resized(samples, size, field=None):
    """Read samples in parallel and bring them to one size.

    Args:
        samples: non-empty list of Sample.
        size: (height, width).
        field: of the task: (height, width) in mm that a slice of a volume shows.

    Returns: images (N, *size, C), uint8 or, of volumes, float32, and masks uint8 (N, *size, M)
    of 0/1 and IGNORED. N counts images or all slices of the volumes. What does not fit into half
    of the memory that may still be taken is kept in temporary files.

    Raises: InputError of the first sample that cannot be read.
    """
    starts = np.cumsum([0, *(sample.slices or 1 for sample in samples)])
    first = read_fitted(samples[0], size, field)
    images, masks = allocate(*(((starts[-1], *part.shape[1:]), part.dtype) for part in first))

    def fill(start, sample):
        image, mask = read_fitted(sample, size, field)
        images[start : start + len(image)] = image
        masks[start : start + len(mask)] = mask

    images[: starts[1]], masks[: starts[1]] = first
    with one_thread_each(), ThreadPoolExecutor() as pool:
        jobs = [pool.submit(fill, *job) for job in zip(starts[1:-1], samples[1:], strict=True)]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return images, masks


def read_part(samples, size, field, part, context=0):
    """What `read_resized` gives of one process's part of the samples.

    Process p of n has every n-th image from p on and reads no other. Volumes differ in depth, so
    each process reads all and takes every n-th slice.

    Args:
        samples, size, field: as in `read_resized`.
        part: (p, n).
        context: of the task; the images are Stacks then.
    """
    p, n = part
    if samples[0].slices is None:
        return read_resized(samples[p::n], size, field)
    images, masks = read_resized(samples, size, field)
    if context:
        images = Stacks.of_volumes(images, [sample.slices for sample in samples], context)
    return images[p::n], masks[p::n]


def count_images(samples):
    """The number of images, counting every slice of a volume."""
    return sum(sample.slices or 1 for sample in samples)


def read_fitted(sample: Sample, size, field):
    """A sample as slices of one size: (D, *size, C) and (D, *size, M); an image is one slice."""
    return fitted(*sample.read(), sample, size, field)


def fitted(image, masks, sample, size, field):
    """What a sample's `read` gave, as slices of one size."""
    if sample.slices is None:
        return resize_image(image, size)[None], resize_masks(masks, size)[None]
    place = sample.spacing[1:], field, size
    images = [crop_field(x, *place) for x in image]
    return np.stack(images), np.stack([crop_masks(x, *place) for x in masks])


def allocate(*arrays):
    """Arrays to fill, given as (shape, dtype): in memory if together they take no more than half
    of what may still be taken, else on temporary files that go when the arrays do."""
    sizes = [
        int(np.prod(shape, dtype="int64")) * np.dtype(dtype).itemsize for shape, dtype in arrays
    ]
    if sum(sizes) <= available_memory() // 2:
        return [np.empty(shape, dtype) for shape, dtype in arrays]
    room = f"{sum(sizes) / 2**30:.1f} GiB of images and masks do not fit into memory"
    if folder := temporary_in_memory():
        log.warning(
            f"{room}, and the folder of temporary files, {folder}, is itself in memory: set TMPDIR "
            "to a folder on a disk."
        )
    else:
        log.info(f"{room}: kept in temporary files.")
    return [map_file(size, *array) for size, array in zip(sizes, arrays, strict=True)]


def map_file(size, shape, dtype):
    """An array of `size` bytes on a temporary file."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the array
    # claim the room now: a full disk is an OSError here and a crash once the file is mapped
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)
    return np.memmap(file, dtype, "r+", shape=shape)
