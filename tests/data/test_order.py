import numpy as np
import pytest
from data.files import binary_folder

import transfuse_keras as tk
from transfuse_keras.data.order import Order
from transfuse_keras.errors import InputError


def rows(order):
    return [indices.tolist() for indices, *_ in order]


def test_an_order_without_seed_is_the_given_one():
    assert rows(Order(7, 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert rows(Order(7, 3, whole=True)) == [[0, 1, 2], [3, 4, 5]]
    assert len(Order(7, 3)) == 3 and len(Order(7, 3, whole=True)) == 2


@pytest.mark.parametrize("count", [5, 8, 61])
def test_every_epoch_has_each_sample_once_in_another_order(count):
    order = Order(count, 4, seed=1)
    first, second = (sum(rows(order), []) for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(count))


def test_the_order_of_an_epoch_is_its_number_not_how_it_was_reached():
    order = Order(40, 8, seed=3)
    epochs = [rows(order) for _ in range(3)]
    again = Order(40, 8, seed=3)
    again.epoch = 2
    assert rows(again) == epochs[2] and again.epoch == 3
    assert rows(Order(40, 8, seed=4)) != epochs[0]


@pytest.mark.parametrize("processes", [2, 4, 8])
@pytest.mark.parametrize("seed", [None, 5])
def test_the_parts_of_all_processes_make_up_the_batches_of_one(processes, seed):
    whole = rows(Order(70, 16, seed))
    parts = [rows(Order(70, 16, seed, part=(p, processes))) for p in range(processes)]
    for k, batch in enumerate(whole):
        # position i of what process p owns is sample i * processes + p
        owned = [i * processes + p for p in range(processes) for i in parts[p][k]]
        assert sorted(owned) == sorted(batch)


def test_shuffling_mixes_samples_from_everywhere():
    order = np.concatenate([indices for indices, *_ in Order(800, 16, seed=0)])
    assert abs(np.corrcoef(order, np.arange(800))[0, 1]) < 0.1
    first = np.concatenate([rows(Order(800, 16, seed=s))[0] for s in range(100)])
    assert abs(first.mean() - 399.5) < 30  # the standard error is 6


def test_batches_that_cannot_be_shared_are_refused():
    for count, batch_size, processes in ((70, 16, 3), (70, 6, 4), (20, 8, 4)):
        with pytest.raises(InputError, match=f"{processes} processes"):
            Order(count, batch_size, seed=0, part=(0, processes))


def pictures(folder, part, **arguments):
    """All batches of two workers, or of one, by their rows: image bytes -> mask bytes."""
    return [
        {image.tobytes(): mask.tobytes() for image, mask in zip(*batch[:2], strict=True)}
        for batch in tk.dataset(
            tk.tasks.skin, folder, image_size=(16, 16), batch_size=4, shard=part, **arguments
        ).as_numpy_iterator()
    ]


def test_two_workers_augment_as_one_does(tmp_path):
    for part in ("train", "val", "test"):
        binary_folder(tmp_path / part, [f"{i}" for i in range(18)])
    one = pictures(tmp_path, (0, 1))
    first, second = pictures(tmp_path, (0, 2)), pictures(tmp_path, (1, 2))
    assert [a | b for a, b in zip(first, second, strict=True)] == one[:4]  # and two images left
    assert all(len(batch) == 2 for batch in first + second)


def test_validation_of_two_workers_is_padded_with_weight_zero(tmp_path):
    for part in ("train", "val", "test"):
        binary_folder(tmp_path / part, [f"{i}" for i in range(5)])
    weights = [
        [
            batch[2].tolist()
            for batch in tk.dataset(
                tk.tasks.skin,
                tmp_path,
                split="val",
                image_size=(16, 16),
                batch_size=4,
                shard=(p, 2),
            ).as_numpy_iterator()
        ]
        for p in range(2)
    ]
    # 5 images in 8 rows: the mean over both batches is the mean over the images
    more = pytest.approx(8 / 5)
    assert weights == [[[more, more], [more, 0]], [[more, more], [0, 0]]]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_last_third_of_a_batch_shows_a_class(processes):
    """As nnU-Net oversamples, and the same in every number of processes."""
    shows = np.random.default_rng(0).random(64) < 0.3
    orders = [Order(64, 12, 5, (p, processes), share=0.33) for p in range(processes)]
    for p, order in enumerate(orders):
        order.foreground = shows[p::processes]
    plain, seen, drawn = Order(64, 12, 5), [], []
    for batch, *parts in zip(plain, *orders, strict=True):
        found = np.empty(len(batch[0]), int)
        draws = np.empty(len(batch[0]), int)
        for p, (indices, numbers, _) in enumerate(parts):
            found[p::processes] = indices * processes + p
            draws[p::processes] = numbers
        assert shows[found[8:]].all()  # 12 x 0.67 rows are as they come
        kept = draws == 0
        np.testing.assert_array_equal(found[kept], batch[0][kept])
        assert not shows[batch[0][~kept]].any() and kept[:8].all()
        seen.append(found.tolist())
        drawn += draws[~kept].tolist()
    assert len(set(drawn)) == len(drawn) > 5
    one = Order(64, 12, 5, share=0.33)
    one.foreground = shows
    assert seen == rows(one)
