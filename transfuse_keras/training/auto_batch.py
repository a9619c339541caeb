"""A batch that fills the memory: chosen by measured steps."""

import logging
import math
import time
from dataclasses import replace

import keras
import numpy as np
import psutil

from transfuse_keras.data.memory import available_memory
from transfuse_keras.devices import name_accelerators
from transfuse_keras.inference.runtimes import read_memory
from transfuse_keras.tasks.plan import BATCHES, SHARE
from transfuse_keras.training.time_limit import unchanged

log = logging.getLogger(__name__)

FIRST_BATCH = 4  # images of the first batch that is tried
TIMED_STEPS = 2  # that are timed, after one that compiles
FASTER = 1.05  # what a batch of twice the size must gain in images a second
ACCELERATOR_SHARE = 0.8  # of its memory that may be taken: what is there has gaps


def choose_batch(model, settings, count):
    """The Settings with the largest batch that memory holds and that pays.

    The learning rate follows the square root of the batch, as Adam's should (Malladi et al. 2022).

    Args:
        model: TransFuse as it will be trained; its weights are as before, but compile it again.
        settings: Settings.
        count: number of training images.
    """
    recipe, memory = settings.recipe, find_memory()
    room = ACCELERATOR_SHARE * memory[1] if memory else held() + SHARE * available_memory()

    def measure(size):
        image, masks = model.input_shape[1:], model.output["mask"].shape[1:]
        batch = np.zeros((size, *image), "float32"), np.zeros((size, *masks), "float32")
        times = []
        for _ in range(1 + TIMED_STEPS):
            start = time.perf_counter()
            model.train_on_batch(*batch)
            times.append(time.perf_counter() - start)
        return min(times[1:]), find_memory()[0] if memory else held()

    with unchanged(model):
        size, why = grow(measure, max(2, count // BATCHES), room)
    rate = recipe.learning_rate * math.sqrt(size / recipe.batch_size)
    log.info(
        f"Batch {size}, by measured steps: {why}. Learning rate {rate:.2g}; the recipe's, "
        f"{recipe.learning_rate:.2g}, is for {recipe.batch_size}."
    )
    return replace(settings, recipe=replace(recipe, batch_size=size, learning_rate=rate))


def grow(measure, most, room):
    """Double a batch as long as that pays.

    Args:
        measure: function of a batch that gives (seconds of a step, bytes held at most until then).
        most: images of a batch at most.
        room: bytes that may be held; what twice the batch holds is foreseen from the last doubling.

    Returns: (images of a batch, why no more).
    """
    size = min(FIRST_BATCH, most)
    seconds, held_by_half = measure(size)
    held_now = held_by_half
    while True:
        twice = 2 * size
        if twice > most:
            return size, f"{twice} would leave less than {BATCHES} batches an epoch"
        needed = held_now + 2 * (held_now - held_by_half)
        if needed > room:
            return size, f"{twice} would take {needed / 1e9:.1f} of {room / 1e9:.1f} GB"
        longer, held_then = measure(twice)
        if longer * FASTER > 2 * seconds:
            return size, f"{twice} trains no more images a second ({twice / longer:.3g})"
        size, seconds, held_by_half, held_now = twice, longer, held_now, held_then


def held():
    """Bytes that this process has held at most; where the system does not tell, those it holds."""
    return read_memory("VmHWM") or psutil.Process().memory_info().rss


def find_memory():
    """(bytes held at most so far, bytes there are) of the accelerator; None on a CPU."""
    backend = keras.backend.backend()
    if not name_accelerators():
        return None
    if backend == "jax":
        import jax

        told = jax.local_devices()[0].memory_stats()
        return told["peak_bytes_in_use"], told["bytes_limit"]
    if backend == "torch":
        import torch

        return torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()[1]
    import tensorflow as tf
    from tensorflow.python.client import device_lib

    limits = [x.memory_limit for x in device_lib.list_local_devices() if x.device_type == "GPU"]
    return tf.config.experimental.get_memory_info("GPU:0")["peak"], limits[0]
