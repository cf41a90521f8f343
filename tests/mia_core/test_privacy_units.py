"""Several rows per privacy unit: the mean of a unit's gradients is clipped as a whole."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import weight_norm

from mia_core.defenses.clipping import clipped_sums
from mia_core.streams import Streams


def one_unit_at_a_time(networks, losses, records, clip, units):
    """Sums by network: plain autograd on the mean loss of one unit's rows after another."""
    sums = {name: [torch.zeros_like(p) for p in network.parameters()] for name, network in networks.items()}
    for unit in sorted(set(units.tolist()) - {-1}):
        rows = torch.nonzero(units == unit).flatten()
        values = losses(networks, *(part[rows] for part in records))
        found = {
            name: torch.autograd.grad(
                values[name].mean(), list(network.parameters()), retain_graph=True, materialize_grads=True
            )
            for name, network in networks.items()
        }
        norm = float(torch.cat([part.flatten() for parts in found.values() for part in parts]).norm())
        for name, parts in found.items():
            for total, part in zip(sums[name], parts, strict=True):
                total += part * min(1.0, clip / max(norm, 1e-300))
    return sums


def every(sums):
    return torch.cat([part.double().flatten() for own in sums.values() for part in own])


def of_units(networks, losses, records, clip, units):
    return every(clipped_sums(networks, losses, records, clip, units)[0])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=Streams(seed).torch("x"), dtype=torch.float64)


def filled(network, seed=0):
    random = Streams(seed).torch("weights")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.5, generator=random)
    return network.double()


def losses(networks, x, y):
    """Of a generator and a judge that learn from each other's outputs, each twice used; or of the judge alone."""
    judged = {key: networks["judge"](part).flatten(1).sum(1) for key, part in (("x", x), ("y", y))}
    values = {"judge": softplus(judged["x"]) + judged["x"] * judged["y"]}
    if "encoder" in networks:
        code = networks["encoder"](x)
        values["encoder"] = code.flatten(1).square().sum(1) + softplus(
            networks["judge"](y + code.mean((1, 2, 3))[:, None, None, None]).flatten(1).sum(1)
        )
    return values


@st.composite
def cases(draw):
    """Networks by each way to a norm (few weights, many, weight norm, scales, biases), records and their units."""
    seed, channels = draw(st.integers(0, 10**6)), draw(st.sampled_from([1, 2, 24]))
    judge = nn.Sequential(
        nn.Conv2d(2, channels, 3, draw(st.integers(1, 2)), padding=1, bias=draw(st.booleans())),
        *([nn.GroupNorm(1, channels)] if draw(st.booleans()) else []),
        nn.Tanh(),
        nn.ConvTranspose2d(channels, channels, 3, draw(st.integers(1, 2))),
        nn.Flatten(2),
        nn.LazyLinear(draw(st.sampled_from([1, 30]))),
    )
    judge(torch.zeros(1, 2, 5, 5))
    networks = {"judge": filled(judge, seed)}
    if draw(st.booleans()):
        weight_norm(judge[0])
    if draw(st.booleans()):
        networks["encoder"] = filled(nn.Conv2d(2, 2, 2, groups=2), seed + 1)
    units = torch.tensor(draw(st.lists(st.sampled_from([-1, 0, 1, 2, 7]), max_size=9)), dtype=torch.int64)
    records = (normal(len(units), 2, 5, 5, seed=seed), normal(len(units), 2, 5, 5, seed=seed + 1))
    return networks, records, units


@given(cases(), st.sampled_from([1e-3, 1.0, 30.0, 1e6]), st.booleans())
def test_sums_are_those_of_one_unit_at_a_time(case, clip, single):
    networks, records, units = case
    expected = every(one_unit_at_a_time(networks, losses, records, clip, units))
    if single:
        networks = {name: network.float() for name, network in networks.items()}
        records = tuple(part.float() for part in records)
    found, values = clipped_sums(networks, losses, records, clip, units)
    # In float32 a unit whose rows cancel is clipped to less than C.
    tolerance = 5e-3 if single else 1e-9
    assert float((every(found) - expected).norm()) <= tolerance * max(float(expected.norm()), clip * 1e-3)
    assert all(value.shape == (len(units),) for value in values.values())
    assert [part.shape for part in found["judge"]] == [p.shape for p in networks["judge"].parameters()]


@given(cases(), st.sampled_from([1e-3, 1.0, 1e6]))
def test_without_units_each_row_is_one(case, clip):
    networks, records, _ = case
    alone = torch.arange(len(records[0])).flip(0)
    found, without = of_units(networks, losses, records, clip, alone), of_units(networks, losses, records, clip, None)
    assert float((found - without).norm()) <= 1e-12 * float(without.norm())


@given(cases(), st.sampled_from([1e-3, 1.0]), st.sampled_from([math.nan, math.inf, 1e200]))
def test_padding_counts_for_nothing_whatever_is_in_it(case, clip, value):
    networks, records, units = case
    padding = units == -1
    bad = tuple(part.clone() for part in records)
    for part in bad:
        part[padding] = value
    found, values = clipped_sums(networks, losses, bad, clip, units)
    kept = of_units(networks, losses, tuple(part[~padding] for part in records), clip, units[~padding])
    zeros = of_units(networks, losses, records, clip, units)
    assert torch.equal(every(found), zeros), "not a bit"
    assert float((zeros - kept).norm()) <= 1e-12 * max(float(kept.norm()), 1e-300)
    assert all(bool(value[~padding].isfinite().all()) for value in values.values())


@pytest.mark.long
@given(cases(), st.sampled_from([1e-3, 0.3, 1.0]))
def test_removing_a_unit_moves_the_sums_by_at_most_clip(case, clip):
    networks, records, units = case
    networks = {name: network.float() for name, network in networks.items()}
    records = tuple(part.float() for part in records)
    for unit in set(units.tolist()) - {-1}:
        rest = units != unit
        left = of_units(networks, losses, tuple(part[rest] for part in records), clip, units[rest])
        assert float((of_units(networks, losses, records, clip, units) - left).norm()) <= clip * (1 + 1e-4)
        padded = of_units(networks, losses, records, clip, torch.where(rest, units, -1))
        assert float((of_units(networks, losses, records, clip, units) - padded).norm()) <= clip * (1 + 1e-4)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("left", [1e-2, 1e-4, 1e-6, 0.0])
def test_rows_of_a_unit_that_cancel_move_the_sum_by_at_most_clip(left, bias):
    # The cross terms between its rows are all there is to their norm.
    network = nn.Linear(64, 64, bias=bias)
    x, r = normal(6, 4, 64), normal(6, 4, 64, seed=1)
    x[1], r[1] = x[0], left * r[1] - r[0]
    records, units = (x.float(), r.float()), torch.tensor([5, 5, 2, 3, 3, 3])

    def products(networks, x, r):
        return {"net": (networks["net"](x) * r).sum((1, 2))}

    exact = one_unit_at_a_time({"net": network.double()}, products, (x[:2], r[:2]), 1e9, units[:2])
    clip = 0.01 * max(float(every(exact).norm()), 1e-9)
    network.float()
    whole = of_units({"net": network}, products, records, clip, units)
    rest = of_units({"net": network}, products, tuple(part[2:] for part in records), clip, units[2:])
    assert float((whole - rest).norm()) <= clip * (1 + 1e-3)


def test_a_unit_with_a_row_that_is_not_finite_adds_nothing():
    network = nn.Linear(3, 1)
    x = torch.ones(5, 3)
    x[1] = math.nan
    units = torch.tensor([0, 0, 1, 1, -1])
    sums, _ = clipped_sums({"net": network}, lambda nets, x: {"net": nets["net"](x).flatten()}, (x,), 1e3, units)
    weight, bias = sums["net"]
    assert torch.equal(weight, torch.ones(1, 3)) and torch.equal(bias, torch.ones(1))


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (torch.tensor([0, -2, 1]), "unit -2 of row 1 is below -1"),
        (torch.tensor([0, 1]), r"units are torch\.int64 \[2\], not int64 \[3\]"),
        (torch.tensor([0.0, 1.0, 2.0]), r"units are torch\.float32 \[3\], not int64 \[3\]"),
    ],
)
def test_units_that_are_none_are_refused(units, message):
    with pytest.raises(ValueError, match=message):
        clipped_sums(
            {"net": nn.Linear(2, 1)}, lambda nets, x: {"net": nets["net"](x).flatten()}, (torch.ones(3, 2),), 1.0, units
        )
