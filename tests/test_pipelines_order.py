"""The order of a run: permutations and draws that depend on seed, epoch, index and attempt alone."""

import collections
import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from pipelines.order import Order, Part, Schedule


@pytest.mark.parametrize(
    ("videos", "batch_size", "epochs", "repeats", "of_batch", "of_epoch"),
    [(10, 4, 3, 1, 4, 2), (10, 4, 3, 2, 2, 5), (5, 5, 1, 1, 5, 1), (9, 1, 2, 1, 1, 9), (7, 6, 2, 3, 2, 3)],
)
def test_steps_of_a_schedule(videos, batch_size, epochs, repeats, of_batch, of_epoch):
    schedule = Schedule(videos, batch_size, epochs, 5, repeats)
    assert schedule.videos_per_step == of_batch
    assert schedule.steps_per_epoch == of_epoch
    assert schedule.steps == epochs * of_epoch
    order = Order(videos, of_batch * of_epoch, 5)
    rows = [int(schedule.order.row(index, 0)) for index in range(schedule.steps * of_batch)]
    assert rows == [int(order.row(index, 0)) for index in range(len(rows))]
    assert len(set(rows[: of_batch * of_epoch])) == of_batch * of_epoch


def test_a_training_may_end_within_an_epoch():
    """Epochs count for nothing then, and the order of the videos is that of a longer training."""
    whole, short, long = (
        Schedule(10, 4, 3, 5),
        Schedule(10, 4, 9, 5, last_step=5),
        Schedule(10, 4, 1, 5, last_step=8),
    )
    assert [(s.steps, s.num_epochs, s.steps_per_epoch) for s in (whole, short, long)] == [
        (6, 3, 2),
        (5, 3, 2),
        (8, 4, 2),
    ]
    assert [short.steps_in(epochs) for epochs in range(4)] == [0, 2, 4, 5]
    assert [short.within(*place) for place in ((0, 0), (1, 3), (2, 4), (2, 5))] == [
        (0, 2),
        (1, 2),
        (0, 1),
        (1, 1),
    ]
    for index in range(20):
        assert len({int(s.order.row(index, 0)) for s in (whole, short, long)}) == 1


@pytest.mark.parametrize(
    ("batch_size", "repeats", "remedy"), [(7, 2, 6), (7, 3, 6), (1, 3, 3), (2, 3, 3), (4, 0, 1), (9, 6, 6)]
)
def test_a_batch_that_is_no_multiple_of_the_repeats_is_refused_with_one_that_is(batch_size, repeats, remedy):
    with pytest.raises(ValueError, match=rf"multiple of repeats.*Try: batch_size={remedy}$"):
        Schedule(100, batch_size, 1, 0, repeats)
    if repeats:
        assert Schedule(100, remedy, 1, 0, repeats).videos_per_step >= 1


@pytest.mark.parametrize(
    ("videos", "repeats", "remedy"), [(3, 1, 1), (8, 1, 1), (15, 1, 1), (16, 1, 2), (40, 1, 4), (40, 3, 12)]
)
def test_fewer_videos_than_a_batch_are_refused_with_a_batch_that_leaves_eight_steps(videos, repeats, remedy):
    with pytest.raises(ValueError, match=rf"Received {videos}\. Try: batch_size={remedy}$"):
        Schedule(videos, 60 * repeats, 1, 0, repeats)
    mended = Schedule(videos, remedy, 1, 0, repeats)
    assert mended.steps_per_epoch >= min(8, videos)
    assert dataclasses.replace(mended, batch_size=videos * repeats).steps_per_epoch == 1


def test_an_epoch_is_a_part_of_a_permutation():
    order = Order(num_videos=10, videos_per_epoch=8, seed=3)
    epochs = [[int(order.row(8 * epoch + index, 0)) for index in range(8)] for epoch in range(6)]
    assert all(len(set(epoch)) == 8 and set(epoch) <= set(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def epoch_of(num_videos, seed=0, epoch=0):
    """Returns the rows of a whole epoch."""
    return Order(num_videos, num_videos, seed).permuted(epoch, np.arange(num_videos)).numpy()


def test_epochs_and_seeds_give_permutations_of_their_own():
    rows = [epoch_of(100, seed, epoch) for seed in (0, 1, 256, 2**30, 2**31 - 1) for epoch in range(40)]
    assert all(sorted(order) == list(range(100)) for order in rows)
    assert len({tuple(order) for order in rows}) == len(rows)
    far = [tuple(epoch_of(100, 0, epoch)) for epoch in (0, 256, 1024, 2**16, 2**31 - 1)]
    assert len(set(far)) == len(far)


def test_each_draw_of_a_clip_has_a_seed_of_its_own():
    order = Order(2**31, 2**31, 5)  # So many videos, that a row has the range of a draw.
    for index in range(3):
        seeds = [tuple(seed.numpy()) for seed in (order.pixel_seed(index), order.mix_seed(index))]
        drawn = [
            int(order.draws(index, 1, 1)[0]),
            int(order.row(index, 1)),
            int(order.row(index, 2)),
            *(int(tf.random.stateless_uniform([], seed, maxval=2**31, dtype=tf.int64)) for seed in seeds),
            int(order.draws(index, 0, 1)[0]),
        ]
        assert len(set(drawn)) == 6 and len(set(seeds)) == 2


def test_all_orders_of_a_few_videos_are_equally_likely():
    order = tf.function(lambda seed, epoch: Order(5, 5, seed).permuted(epoch, tf.range(5)), autograph=False)
    counts = collections.Counter(tuple(order(tf.constant(7), tf.constant(e)).numpy()) for e in range(2400))
    assert len(counts) == 120
    chi_squared = sum((count - 20) ** 2 / 20 for count in counts.values())
    assert chi_squared < 185  # With 119 degrees of freedom, one in 10,000 is above.


def test_neighbours_do_not_stay_neighbours():
    for num_videos in (1000, 1024, 20_000):
        rows = epoch_of(num_videos, seed=3)
        for lag in (1, 2, 7, 64):
            steps = rows[lag:] - rows[:-lag]
            # By chance a difference of 1 occurs about once, and the most frequent difference a few times.
            assert (np.abs(steps) == 1).sum() < 12
            assert np.unique(steps, return_counts=True)[1].max() < 12
        assert abs(np.corrcoef(rows[1:], rows[:-1])[0, 1]) < 5 / num_videos**0.5


def test_the_first_video_is_any_video():
    order = Order(50, 50, seed=0)
    first = np.array([int(order.permuted(epoch, 0)) for epoch in range(1500)])
    counts = np.bincount(first, minlength=50)
    assert ((counts - 30) ** 2 / 30).sum() < 95  # With 49 degrees of freedom, one in 10,000 is above.


def test_graph_and_eager_agree():
    order = Order(7, 6, seed=2**31 - 1)

    @tf.function(autograph=False)
    def in_graph(number, attempt):
        return (
            order.row(number, attempt),
            order.draws(number, attempt, 5),
            order.pixel_seed(number),
            order.mix_seed(number),
        )

    for number in (0, 5, 6, 100, 2**33):
        for attempt in (0, 1, 2):
            eager = (
                order.row(number, attempt),
                order.draws(number, attempt, 5),
                order.pixel_seed(number),
                order.mix_seed(number),
            )
            arguments = tf.constant(number, tf.int64), tf.constant(attempt)
            for one, other in zip(in_graph(*arguments), eager, strict=True):
                np.testing.assert_array_equal(one, other)


def test_all_draws_differ():
    drawn = []
    for seed in (0, 1):
        order = Order(50, 40, seed)
        for number in (0, 1, 39, 40, 41):
            for attempt in (0, 1):
                drawn.append(tuple(order.draws(number, attempt, 4).numpy()))
            drawn.append(tuple(order.pixel_seed(number).numpy()))
            drawn.append(tuple(order.mix_seed(number).numpy()))
    assert len(set(drawn)) == len(drawn)
    assert len({number for draw in drawn[:2] for number in draw}) == 8


def test_draws_are_uniform():
    order = Order(4, 4, seed=0)
    values = np.concatenate([order.draws(number, 0, 100) for number in range(50)])
    assert values.min() >= 0 and values.max() < 2**31
    counts = np.bincount(values // 2**28, minlength=8)
    assert abs(counts - 625).max() < 5 * 25  # Five standard deviations.


def test_replacements_come_from_all_videos():
    order = Order(5, 5, seed=1)
    rows = [int(order.row(number, attempt)) for number in range(20) for attempt in (1, 2, 3)]
    assert set(rows) == set(range(5))
    assert min(np.bincount(rows)) >= 4


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("size, count", [(8, 1), (8, 2), (12, 3), (5, 1), (16, 8)])
def test_the_parts_of_a_batch_are_the_batch(size, count, mirrored):
    parts = [Part(number, count).places(size, mirrored) for number in range(count)]
    assert sorted(itertools.chain(*parts)) == list(range(size))
    assert {len(part) for part in parts} == {size // count}
    if mirrored:
        for part in parts:
            assert [size - 1 - place for place in part[::-1]] == part
    else:
        assert list(itertools.chain(*parts)) == list(range(size))


@pytest.mark.parametrize("size, mirrored", [(6, True), (5, False)])
def test_a_batch_that_workers_cannot_share_is_refused(size, mirrored):
    with pytest.raises(ValueError, match=f"a multiple of {4 if mirrored else 2}"):
        Part(0, 2).places(size, mirrored)


def test_ranges_of_parts_follow_one_another():
    for size, count in itertools.product(range(7), range(1, 5)):
        ranges = [Part(number, count).range(size) for number in range(count)]
        assert list(itertools.chain(*ranges)) == list(range(size))
        assert max(map(len, ranges)) - min(map(len, ranges)) <= 1
