"""Batches, and budgets of epochs as steps."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from mia_core.batches import Ordered, Sampled, SeededCoins, epochs_of, padded, padded_size, steps_of
from mia_core.streams import Streams

sizes = st.integers(1, 400)


@given(st.integers(1, 50), sizes, sizes)
def test_e_epochs_end_after_ceil_e_n_over_b_steps_and_have_passed_each_record_e_times(epochs, train_size, batch_size):
    steps = steps_of(epochs, train_size, batch_size)
    assert steps == math.ceil(epochs * train_size / batch_size)
    assert epochs * train_size <= steps * batch_size < epochs * train_size + batch_size
    if batch_size <= train_size:
        assert epochs_of(steps, train_size, batch_size) == epochs
        assert epochs_of(steps - 1, train_size, batch_size) == epochs - 1


@given(sizes, sizes, st.integers(0, 30))
def test_batches_are_stretches_of_one_endless_order(count, batch_size, start):
    ordered = Ordered(Streams("x"), count, batch_size)
    taken = np.concatenate([ordered.rows(step).index.numpy() for step in range(start, start + 3)])
    number = (start + 3) * batch_size // count + 1
    endless = np.concatenate([Streams("x").numpy("order", k).permutation(count) for k in range(number)])
    assert np.array_equal(taken, endless[start * batch_size : (start + 3) * batch_size])
    assert ordered.rows(start).units is None


@given(st.integers(0, 60), st.integers(1, 30))
def test_a_padded_batch_has_its_records_first_and_a_multiple_of_the_size(count, size):
    index = np.arange(count) * 3
    batch = padded(index, size)
    assert len(batch.index) == len(batch.units) == max(size, math.ceil(count / size) * size)
    assert batch.records.tolist() == batch.units[:count].tolist() == index.tolist()
    assert (batch.units[count:] == -1).all()
    assert (batch.index >= 0).all()


@pytest.mark.parametrize(("train_size", "batch_size"), [(100, 32), (1000, 32), (60_000, 256), (32, 32), (5, 1)])
def test_samples_hardly_ever_need_more_than_the_padded_size(train_size, batch_size):
    rate = batch_size / train_size
    size = padded_size(train_size, rate)
    assert batch_size <= size < batch_size + 1 + 6 * math.sqrt(batch_size)
    assert binom(train_size, rate).sf(size) < (1e-6 if train_size < 100 else 1e-7)


def test_a_sample_larger_than_that_is_whole_in_a_larger_batch():
    sampled = Sampled(lambda step, count: np.zeros(count), count=30, rate=0.1, size=8)
    batch = sampled.rows(0)
    assert batch.records.tolist() == list(range(30))
    assert len(batch.index) == 32


def test_seeded_coins_are_functions_of_their_step():
    coins, jumping = SeededCoins(Streams(1)), SeededCoins(Streams(1))
    along = [coins(step, 5).tolist() for step in range(130)]
    assert [jumping(step, 5).tolist() for step in (129, 0, 64)] == [along[129], along[0], along[64]]
    assert len({value for step in along for value in step}) == 650


@pytest.mark.parametrize(("train_size", "batch_size", "most"), [(280, 32, 1e-7), (100_000, 32, 1e-7), (1000, 2, 2e-6)])
def test_samples_outgrow_their_padding_as_rarely_as_is_said(train_size, batch_size, most):
    rate = batch_size / train_size
    assert most / 100 < binom.sf(padded_size(train_size, rate), train_size, rate) < most
