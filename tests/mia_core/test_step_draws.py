"""Numbers of steps, in blocks: which they are follows from purpose, step and shape alone."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest

from mia_core.step_draws import BLOCK, STEP, Draws, index, normal, uniform
from mia_core.streams import Streams

KINDS = {
    "normal": lambda draws, step, shape=(3, 4): draws("x", step, normal(*shape)),
    "uniform": lambda draws, step, shape=(3, 4): draws("x", step, uniform(*shape)),
    "index": lambda draws, step, shape=(3, 4): draws("x", step, index(*shape, below=10**9)),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_a_steps_numbers_are_the_same_in_whatever_order_steps_are_asked_for(kind):
    along, jumping = Draws(Streams(1)), Draws(Streams(1))
    steps = list(range(2 * BLOCK + 3))
    found = {step: KINDS[kind](along, step).clone() for step in steps}
    for step in (BLOCK, 2 * BLOCK + 2, 0, BLOCK - 1, 0, BLOCK):
        assert torch.equal(KINDS[kind](jumping, step), found[step])
    assert len(np.unique(torch.stack(list(found.values())).numpy())) > 0.999 * 12 * len(steps)


@every_kind
def test_steps_of_another_shape_purpose_or_stream_share_no_numbers(kind):
    first = KINDS[kind](Draws(Streams(1)), 5)
    draws = Draws(Streams(1))
    others = [KINDS[kind](draws, step, shape) for step in (0, 4, 5, 6) for shape in ((4, 4), (3, 5), (12,))]
    others.append(KINDS[kind](Draws(Streams(2)), 5))
    assert not set(first.flatten().tolist()) & {value for other in others for value in other.flatten().tolist()}
    assert torch.equal(KINDS[kind](draws, 5), first)


def test_a_block_is_one_draw_of_a_named_stream():
    drawn = torch.randn(BLOCK, 3, 4, generator=Streams(1).torch("x", "normal", 2, 3, 4))
    assert torch.equal(Draws(Streams(1))("x", 2 * BLOCK + 7, normal(3, 4)), drawn[7])


@every_kind
def test_draws_of_single_steps_keep_nothing_and_are_as_independent_of_order(kind):
    draws = Draws(Streams(1), block=STEP)
    found = {step: KINDS[kind](draws, step) for step in range(5)}
    assert not draws._blocks
    for step in (3, 0, 4):
        assert torch.equal(KINDS[kind](Draws(Streams(1), block=STEP), step), found[step])
    assert len(np.unique(torch.stack(list(found.values())).numpy())) > 0.9 * 12 * 5


def test_numbers_have_their_laws(p_value):
    # Each check errs about once in 1e6 seeds.
    draws = Draws(Streams(3))
    normals, uniforms, indices = (
        torch.cat([draw(step).flatten() for step in range(3 * BLOCK)]).double().numpy()
        for draw in (
            lambda step: draws("n", step, normal(50)),
            lambda step: draws("u", step, uniform(50)),
            lambda step: draws("i", step, index(50, below=7)),
        )
    )
    assert kstest(normals, "norm").pvalue > 1e-6
    assert kstest(uniforms, "uniform").pvalue > 1e-6
    counts = np.bincount(indices.astype(int), minlength=7)
    assert len(counts) == 7
    assert p_value(((counts - len(indices) / 7) ** 2 / (len(indices) / 7)).sum(), chi2(6)) > 1e-6
