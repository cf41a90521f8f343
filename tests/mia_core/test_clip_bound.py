"""The clip in the precision that trains: what a record adds is at most C, where its gradient's terms cancel too.

What is claimed, and tested here on float32 and float64 results whose norms are taken in float64:

- a record's bound N, if finite, is at least the exact norm of its gradient, of biases as summed over places before;
- a sum of one record is at most C long, its own rounding included;
- the sums of n places of all records, with and without one record, are at most C apart, plus what two sums of n numbers
  are rounded by: gamma_n times the magnitudes of all terms that are summed, each.
"""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from benchmarks.clip import CASES, Case, moved, our_sums, plain_sums
from mia_core.defenses.clipping import clipped_sums, record
from mia_core.defenses.norms import gamma, norm_bounds
from mia_core.defenses.units import Units
from mia_core.streams import Streams

PRECISIONS = (torch.float32, torch.float64)
SLOW = partial(pytest.param, marks=pytest.mark.slow)
EXACT = 1 + 1e-12
"""A norm in float64."""


def every(sums):
    return torch.cat([part.double().flatten() for own in sums.values() for part in own])


def bounds(case, chunk=2**18):
    """N [B]."""
    tape, _ = record(case.networks, case.losses, case.records)
    with torch.no_grad():
        return norm_bounds(tape, Units.of(None, len(case.records[0]), torch.device("cpu")), chunk)


def exact_norms(case):
    """[B], in float64 from what the tape holds."""
    tape, _ = record(case.networks, case.losses, case.records)
    parts = [rows.double() for rows in tape.rows.values()]
    for key, uses in tape.uses.items():
        pairs = [use.factors(tape.weights[key], slice(None)) for use in uses]
        a, b = (torch.cat(factors, -1).double() for factors in zip(*pairs, strict=True))
        gradients = (b @ a.mT).reshape(-1, *tape.weights[key].shape)
        if key in tape.derived:
            derived = replace(tape.derived[key], v=tape.derived[key].v.double(), g=tape.derived[key].g.double())
            pulled = [torch.cat([part.flatten() for part in derived.pulled(gradient)]) for gradient in gradients]
            gradients = torch.stack(pulled)
        parts.append(gradients.detach().flatten(1))
    return torch.cat(parts, 1).norm(dim=1)


def only(case, row):
    pairs = {name: [(x[row : row + 1], r[row : row + 1]) for x, r in uses] for name, uses in case.pairs.items()}
    return Case(case.networks, pairs)


def rounding(case, clip):
    """What two sums over all records are rounded by at most, in units of C, with the magnitudes [B] of each record."""
    tape, _ = record(case.networks, case.losses, case.records)
    found = bounds(case).double()
    factors = torch.where(found.isfinite(), (clip / found).clamp_max(1), 0)
    places, squares = 0, [rows.double().square().sum(1) for rows in tape.rows.values()]
    for key, uses in tape.uses.items():
        pairs = [use.factors(tape.weights[key], slice(None)) for use in uses]
        a, b = (torch.cat(parts, -1).double() for parts in zip(*pairs, strict=True))
        stretch = float(tape.derived[key].stretch()) * (1 + 10 * sum(tape.weights[key].shape)) if tape.derived else 1
        squares.append(((a.norm(dim=2) * b.norm(dim=2)).sum(2) * stretch).square().sum(1))
        places = max(places, a.shape[3])
    total = float((factors * torch.stack(squares).sum(0).sqrt()).sum())
    return 2 * gamma(len(factors) * places + 4, case.records[0].dtype) * total / clip


def assert_bounded(case, share=0.01, rows=1):
    """The three claims; at C, a share of the norm of record 0. How far two sums are apart, in units of C."""
    clip = max(share * case.norm(), 1e-12)
    found = bounds(case).double()
    assert bool((~found.isfinite() | (found >= exact_norms(case) / EXACT)).all())
    most = 0.0
    for row in range(rows):
        alone = only(case, row)
        sums = torch.cat([part.double().flatten() for part in our_sums(alone, clip)])
        assert float(sums.norm()) <= clip * EXACT
        apart = moved(our_sums, case, clip, row)
        assert apart <= EXACT + rounding(case, clip)
        most = max(most, apart)
    return most


@pytest.mark.parametrize("left", [1.0, SLOW(1e-2), 1e-3, SLOW(1e-4), 1e-5, 0.0])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CASES)
def test_a_record_whose_terms_cancel_moves_the_sums_by_at_most_clip(name, precision, left):
    for draw in range(3):
        apart = assert_bounded(CASES[name](left, Streams(name, draw).torch("case")).to(precision))
        assert apart <= 1 + (1e-4 if precision == torch.float32 else 1e-12), "what rounding does in fact"


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"convolution, weight norm"}))
def test_a_root_of_the_gram_square_as_it_is_computed_lets_far_more_through(name):
    # Or the cases above would show nothing.
    cases = [CASES[name](1e-5, Streams(name, draw).torch("case")).to(torch.float32) for draw in range(8)]
    assert max(moved(plain_sums, case, 0.01 * case.norm()) for case in cases) > 2


@st.composite
def cancelling_cases(draw):
    """Layers of any geometry under any of the three ways to a norm; images nearly of one color, or gradients nearly
    opposite in pairs, or both, twice used or once."""
    random = Streams(draw(st.integers(0, 10**6))).torch("case")
    groups, kernel, stride, dilation = (draw(st.integers(1, most)) for most in (2, 4, 3, 2))
    inside, outside = (groups * draw(st.sampled_from([1, 3, 16])) for _ in range(2))  # many: Gram products
    size = dilation * (kernel - 1) + draw(st.integers(1, 5))
    kind = draw(st.sampled_from([nn.Conv2d, nn.ConvTranspose2d]))
    layer = kind(inside, outside, kernel, stride, groups=groups, dilation=dilation, bias=draw(st.booleans()))
    layer.padding = (draw(st.integers(0, 2 if kind is nn.Conv2d else 0)),) * 2
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=random)
        shape = layer(torch.zeros(1, inside, size, size)).shape[1:]
    if draw(st.booleans()):
        weight_norm(layer)
    near, left = (draw(st.sampled_from([0.0, 1e-7, 1e-5, 1e-3, 1.0])) for _ in range(2))
    batch, uses = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2]))

    def normal(*sizes):
        return torch.randn(*sizes, generator=random, dtype=torch.float64)

    pairs = []
    for use in range(uses):
        x = normal(batch, inside, 1, 1) + near * normal(batch, inside, size, size)
        r = normal(batch, shape[0], math.prod(shape[1:]))
        r[:, :, 1::2] = -r[:, :, : r.shape[2] // 2 * 2 : 2]
        r = (r + left * normal(*r.shape)).unflatten(2, shape[1:])
        pairs.append((x, r) if use == 0 or draw(st.booleans()) else (pairs[0][0], left * r - pairs[0][1]))
    scale = draw(st.sampled_from([1e-15, 1.0, 1e6]))
    return Case({"net": layer}, {"net": [(scale * x, r) for x, r in pairs]}).to(draw(st.sampled_from(PRECISIONS)))


@given(cancelling_cases(), st.sampled_from([1e-3, 0.3, 0.99, 1.01]))
def test_no_record_moves_a_layers_sum_by_more_than_clip(case, share):
    assert_bounded(case, share, rows=len(case.records[0]))


@st.composite
def linear_cases(draw):
    """Several networks of linear layers over places, at any scale up to overflow."""
    random = Streams(draw(st.integers(0, 10**6))).torch("case")
    batch, networks, pairs = draw(st.integers(1, 4)), {}, {}
    for name in ("one", "two", "three")[: draw(st.integers(1, 3))]:
        inside, outside, places = (draw(st.sampled_from(sizes)) for sizes in ([1, 3, 40], [1, 3, 40], [1, 2, 8, 30]))
        networks[name] = nn.Linear(inside, outside, bias=draw(st.booleans()))
        x = torch.randn(batch, 1, inside, generator=random, dtype=torch.float64).expand(-1, places, -1)
        r = torch.randn(batch, places, outside, generator=random, dtype=torch.float64)
        if places > 1:
            r[:, places // 2 :] -= r.mean(1, keepdim=True) * places / (places - places // 2)
        r = r + draw(st.sampled_from([0.0, 1e-6, 1e-4, 1e-2])) * torch.randn(r.shape, generator=random)
        scale = draw(st.sampled_from([1e-24, 1e-18, 1.0, 1e8]))
        pairs[name] = [(scale * x, r * draw(st.sampled_from([1e-8, 1.0, 1e8, 1e17])))]
    return Case(networks, pairs).to(draw(st.sampled_from(PRECISIONS)))


def test_a_small_layer_whose_inputs_have_squares_of_zero_is_bounded():
    x = torch.full((1, 2, 1), 1.9e-24)
    for gradient in torch.linspace(1.4e17, 1.5e17, 50):
        r = torch.stack([-gradient, gradient * (1 - 3e-3)]).view(1, 2, 1)
        assert_bounded(Case({"net": nn.Linear(1, 1, bias=False)}, {"net": [(x, r)]}), 1e-6)


@given(linear_cases(), st.sampled_from([1e-6, 0.3, 1.01]))
def test_no_record_moves_the_sums_of_several_networks_by_more_than_clip(case, share):
    assert_bounded(case, share, rows=len(case.records[0]))


def test_records_without_cancellation_are_clipped_to_within_a_thousandth():
    # A bound far above the norm would be safe, and would train nothing.
    network = nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 2, 1), nn.Conv2d(64, 1, 7)
    )
    random = Streams(0).torch("x")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.1, generator=random)
    x = torch.rand(16, 1, 28, 28, generator=random) * 2 - 1
    sums = clipped_sums({"net": network}, lambda nets, x: {"net": nets["net"](x).flatten()}, (x,), 1e-3)[0]
    for row in range(16):
        rest = torch.cat([x[:row], x[row + 1 :]])
        others = clipped_sums({"net": network}, lambda nets, x: {"net": nets["net"](x).flatten()}, (rest,), 1e-3)[0]
        assert 0.999 <= float((every(sums) - every(others)).norm()) / 1e-3 <= 1 + 1e-5


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CASES)
def test_a_records_bound_is_the_same_whatever_records_are_beside_it(name, precision):
    # Or a record would move the sum by what it changes of other records' factors too.
    case = CASES[name](1e-4, Streams(name).torch("case")).to(precision)
    whole = bounds(case)
    for chunk in (1, 2**18):
        alone = torch.cat([bounds(only(case, row), chunk) for row in range(len(whole))])
        torch.testing.assert_close(alone, whole, rtol=1e-6 if precision == torch.float32 else 1e-12, atol=0)


# Records that are not finite


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("kind", ["convolution", "transposed", "weight norm", "linear", "after a group norm"])
def test_a_record_that_is_not_finite_or_overflows_adds_nothing(kind, value):
    network = {
        "convolution": lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 1, 2)),
        "transposed": lambda: nn.ConvTranspose2d(2, 3, 3),
        "weight norm": lambda: weight_norm(nn.Conv2d(2, 3, 3)),
        "after a group norm": lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4)),
        "linear": lambda: nn.Linear(5, 3),
    }[kind]()
    random = Streams(1).torch("x")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(generator=random)
    x = torch.randn(4, 2, 5, 5, generator=random)
    x[2] = value

    def losses(networks, x):
        return {"net": networks["net"](x).square().flatten(1).sum(1)}

    found = every(clipped_sums({"net": network}, losses, (x,), 0.5)[0])
    rest = every(clipped_sums({"net": network}, losses, (torch.cat([x[:2], x[3:]]),), 0.5)[0])
    assert bool(rest.isfinite().all()) and float(rest.norm()) > 0.5
    if kind == "after a group norm" and value == 1e30:  # which makes any image as large as others
        assert bool(found.isfinite().all()) and float((found - rest).norm()) <= 0.5 + 1e-5
    else:
        assert float((found - rest).norm()) <= 1e-5


def test_a_record_that_is_not_finite_in_one_network_adds_nothing_to_any():
    networks = {"one": nn.Linear(3, 1), "two": nn.Linear(3, 1)}
    x, y = torch.ones(3, 3), torch.ones(3, 3)
    y[1] = math.nan

    def losses(networks, x, y):
        return {"one": networks["one"](x).flatten(), "two": networks["two"](y).flatten()}

    found = clipped_sums(networks, losses, (x, y), 1e3)[0]
    assert torch.equal(found["one"][0], torch.full((1, 3), 2.0)) and torch.equal(found["two"][1], torch.tensor([2.0]))


# bfloat16


def test_weights_in_bfloat16_are_refused():
    network = nn.Linear(3, 1).bfloat16()
    with pytest.raises(ValueError, match=r"computes in torch\.bfloat16, for which the bound .* is not shown"):
        clipped_sums({"net": network}, lambda nets, x: {"net": nets["net"](x).flatten()}, (torch.ones(2, 3),), 1.0)


@pytest.mark.parametrize("layer", [nn.Linear(4, 2), nn.Conv2d(1, 2, 2), nn.ConvTranspose2d(1, 2, 2)])
def test_layers_lowered_to_bfloat16_are_refused(layer):
    def losses(networks, x):
        with torch.autocast("cpu", torch.bfloat16):
            return {"net": networks["net"](x).float().flatten(1).sum(1)}

    x = torch.ones(3, 4) if isinstance(layer, nn.Linear) else torch.ones(3, 1, 4, 4)
    with pytest.raises(ValueError, match=r"computes in torch\.bfloat16, for which the bound .* is not shown"):
        clipped_sums({"net": layer}, losses, (x,), 1.0)
