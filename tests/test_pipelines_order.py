"""The order of a run: permutations and draws that depend on seed, epoch, index and attempt alone."""

import numpy as np
import tensorflow as tf

from pipelines.order import Order


def test_an_epoch_is_a_part_of_a_permutation():
    order = Order(num_videos=10, videos_per_epoch=8, seed=3)
    epochs = [[int(order.row(8 * epoch + index, 0)) for index in range(8)] for epoch in range(6)]
    assert all(len(set(epoch)) == 8 and set(epoch) <= set(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


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
