import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import weight_norm

from mia_core.defenses.clipping import clipped_sums, record
from mia_core.defenses.norms import norm_bounds
from mia_core.defenses.units import Units
from mia_core.streams import Streams

CLIPS = (1e-3, 0.5, 1e4)
"""All, some and no records are clipped."""


def one_at_a_time(networks, losses, records, clip):
    """Sums by network and norms [B]: plain autograd on one record after another, in the networks' own precision."""
    sums = {name: [torch.zeros_like(p) for p in network.parameters()] for name, network in networks.items()}
    norms = []
    for i in range(len(records[0])):
        terms = losses(networks, *(part[i : i + 1] for part in records))
        found = {
            name: torch.autograd.grad(
                terms[name].sum(), list(network.parameters()), retain_graph=True, materialize_grads=True
            )
            for name, network in networks.items()
        }
        norms.append(torch.cat([g.flatten() for parts in found.values() for g in parts]).norm())
        for name, parts in found.items():
            for total, gradient in zip(sums[name], parts, strict=True):
                total += gradient * min(1.0, clip / float(norms[-1].clamp_min(1e-300)))
    return sums, norms


def assert_equal(networks, losses, records, clip):
    found, values = clipped_sums(networks, losses, records, clip)
    expected, _ = one_at_a_time(networks, losses, records, clip)
    scale = torch.cat([part.flatten() for parts in expected.values() for part in parts]).norm()
    for name in networks:
        for ours, slow in zip(found[name], expected[name], strict=True):
            assert float((ours - slow).norm()) <= 1e-9 * float(scale)
    assert all(value.shape == (len(records[0]),) for value in values.values())
    kept = [*values.values(), *(part for parts in found.values() for part in parts)]
    assert not any(tensor.requires_grad for tensor in kept), "a graph would keep the batch's activations alive"


def random(*shape, seed=0):
    return torch.randn(*shape, generator=Streams(seed).torch("x"), dtype=torch.float64)


def filled(network, seed=0):
    stream = Streams(seed).torch("weights")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=stream) * 0.5)
    return network.double()


def score(network):
    return lambda networks, x: {"net": softplus(networks["net"](x).flatten(1).square().sum(1))}


@st.composite
def layers(draw):
    """A layer that turns [B,C,H,H] into images: either convolution, any geometry; and C, H."""
    groups, kernel = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    inside, outside = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    size = dilation * (kernel - 1) + draw(st.integers(1, 5))
    padding = draw(st.integers(0, 2))
    more = {"groups": groups, "dilation": dilation, "bias": draw(st.booleans())}
    if draw(st.booleans()):
        return nn.Conv2d(inside, outside, kernel, stride, padding, **more), inside, size
    more["output_padding"] = draw(st.integers(0, stride - 1))
    shrunk = (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + more["output_padding"] + 1
    return nn.ConvTranspose2d(inside, outside, kernel, stride, padding if shrunk > 0 else 0, **more), inside, size


@given(layers(), st.sampled_from([1, 2, 5]), st.sampled_from(CLIPS), st.booleans())
def test_any_convolution_after_a_layer_with_weights(case, batch, clip, through_a_layer):
    layer, channels, size = case
    first = [nn.Conv2d(2, channels, 1), nn.GroupNorm(1, channels), nn.Tanh()] if through_a_layer else []
    network = filled(nn.Sequential(*first, layer))
    records = (random(batch, 2 if through_a_layer else channels, size, size),)
    assert_equal({"net": network}, score(network), records, clip)


@given(layers(), st.sampled_from([1, 2, 5]), st.sampled_from(CLIPS), st.booleans())
def test_any_convolution_on_records_and_weights_in_channels_last_order(case, batch, clip, through_a_layer):
    layer, channels, size = case
    first = [nn.Conv2d(2, channels, 1), nn.GroupNorm(1, channels), nn.Tanh()] if through_a_layer else []
    network = filled(nn.Sequential(*first, layer))
    records = random(batch, 2 if through_a_layer else channels, size, size)
    plain = clipped_sums({"net": network}, score(network), (records,), clip)[0]["net"]
    network, records = (part.to(memory_format=torch.channels_last) for part in (network, records))
    assert_equal({"net": network}, score(network), (records,), clip)
    # The order in memory is no part of what is computed, and the order of weights is that of their gradients' indices.
    for ours, other in zip(
        clipped_sums({"net": network}, score(network), (records,), clip)[0]["net"], plain, strict=True
    ):
        torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3)])
def test_linear_layers_on_any_number_of_dimensions(shape, clip):
    network = filled(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False)))
    assert_equal({"net": network}, score(network), (random(6, *shape),), clip)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_name(padding, clip):
    network = filled(nn.Conv2d(2, 3, (3, 5), padding=padding, dilation=(2, 1)))
    assert_equal({"net": network}, score(network), (random(3, 2, 7, 8),), clip)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_network_called_several_times_a_record(clip, norm):
    # The gradient of a record is the sum over the calls: their norms do not add.
    network = filled(nn.Sequential(nn.Conv2d(1, 3, 3), nn.GroupNorm(3, 3), nn.Tanh(), nn.Conv2d(3, 1, 4)))
    if norm:
        weight_norm(network[0])
        weight_norm(network[3])

    def losses(networks, x, y):
        one, other = networks["net"](x).flatten(1), networks["net"](y).flatten(1)
        return {"net": (one - other).square().sum(1) + one.sum(1)}

    assert_equal({"net": network}, losses, (random(4, 1, 6, 6), random(4, 1, 6, 6, seed=1)), clip)


@pytest.mark.parametrize("clip", CLIPS)
def test_a_generator_and_a_judge_that_each_learn_from_their_own_term_only(clip):
    generator = filled(nn.Sequential(nn.ConvTranspose2d(3, 2, 3), nn.Tanh(), nn.ConvTranspose2d(2, 1, 4, 2, 1)), 1)
    judge = filled(nn.Sequential(nn.Conv2d(1, 4, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3)), 2)

    def losses(networks, z, x):
        made = networks["generator"](z)
        real, fake = networks["judge"](x).flatten(), networks["judge"](made).flatten()
        return {
            "generator": softplus(-fake) + (made - x).square().sum((1, 2, 3)),
            "judge": softplus(-real) + softplus(fake),
            "reported": fake,
        }

    records = (random(5, 3, 1, 1), random(5, 1, 6, 6, seed=1))
    assert_equal({"generator": generator, "judge": judge}, losses, records, clip)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("norm", ["group", "weight", "none"])
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_gradient_penalty_is_clipped_jointly_with_its_record(share, norm):
    critic = nn.Sequential(
        nn.Conv2d(1, 4, 4, 2, 1),
        nn.Tanh(),
        nn.ConvTranspose2d(4, 2, 3),
        *([nn.GroupNorm(2, 2)] if norm == "group" else []),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(2 * 25, 1),
    )
    critic = filled(critic)
    if norm == "weight":
        for layer in (critic[0], critic[2], critic[-1]):
            weight_norm(layer)

    def losses(networks, x, mixed):
        mixed = mixed.detach().requires_grad_()
        (slope,) = torch.autograd.grad(networks["net"](mixed).sum(), mixed, create_graph=True)
        return {"net": 10 * (slope.flatten(1).norm(dim=1) - 1).square() - networks["net"](x).flatten()}

    records = (random(6, 1, 6, 6), random(6, 1, 6, 6, seed=1))
    norms = sorted(map(float, one_at_a_time({"net": critic}, losses, records, 1.0)[1]))
    clip = {0.0: 0.5 * norms[0], 0.5: norms[3], 1.0: 2 * norms[-1]}[share]  # all, some, none are clipped
    expected, _ = one_at_a_time({"net": critic}, losses, records, clip)
    assert_equal({"net": critic}, losses, records, clip)
    without = clipped_sums({"net": critic}, lambda nets, x, _: {"net": -nets["net"](x).flatten()}, records, clip)[0]
    assert any(not torch.allclose(a, b, rtol=0.1) for a, b in zip(without["net"], expected["net"], strict=True))


def test_bounds_of_records_taken_one_by_one_or_all_at_once_are_the_same():
    network = filled(nn.Sequential(nn.Conv2d(2, 8, 3), nn.Tanh(), nn.Conv2d(8, 1, 4)))
    tape, _ = record({"net": network}, score(network), (random(7, 2, 6, 6),))
    units = Units.of(None, 7, torch.device("cpu"))
    with torch.no_grad():
        one_by_one, at_once = norm_bounds(tape, units, 1), norm_bounds(tape, units, 10**9)
    torch.testing.assert_close(one_by_one, at_once, rtol=1e-13, atol=0)


@pytest.mark.parametrize("large", [False, True])
def test_both_ways_to_a_norm_are_taken_and_right(large):
    # Few places and many weights: products of inputs and of gradients; many places and few weights: the gradients.
    channels, size = (64, 3) if large else (2, 12)
    network = filled(nn.Conv2d(channels, channels, 3))
    with torch.no_grad():
        network.weight *= 0.1
    assert_equal({"net": network}, score(network), (random(3, channels, size, size),), 0.5)


def test_what_is_not_known_is_refused():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, x):
            return x * self.factor

    with pytest.raises(ValueError, match="the gradient of a single record is not known for mul"):
        clipped_sums({"net": Scaled()}, score(None), (random(3, 2),), 1.0)


@pytest.mark.parametrize("use", ["in a list", "in parts", "in a function of its own"])
def test_a_parameter_that_gets_past_the_tape_is_refused(use):
    # Its gradient would be missing, from the sum and from the norm, and the parameter would never learn.
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weight):
            return 2 * weight

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    def losses(networks, x):
        weight = networks["net"].weight
        found = {
            "in a list": lambda: torch.cat([weight, weight]),
            "in parts": lambda: weight.chunk(2)[0],
            "in a function of its own": lambda: Twice.apply(weight),
        }[use]()
        return {"net": networks["net"](x).sum(1) + torch.nn.functional.linear(x, found).sum(1)}

    with pytest.raises(ValueError, match="the net uses a parameter in a way whose gradient is not known"):
        clipped_sums({"net": filled(nn.Linear(3, 2))}, losses, (random(4, 3),), 1.0)


def test_two_rows_a_record_are_refused():
    network = filled(nn.Linear(3, 1))

    def losses(networks, x):
        one, other = networks["net"](torch.cat([x, -x])).flatten().chunk(2)
        return {"net": one * other}

    with pytest.raises(ValueError, match="a layer was given 8 rows for 4 records"):
        clipped_sums({"net": network}, losses, (random(4, 3),), 1.0)


def test_a_parameter_with_two_roles_is_refused():
    network = nn.Sequential(nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(3, 1, bias=False)).double()

    def losses(networks, x):
        own = networks["net"]
        return {"net": torch.nn.functional.linear(own[:2](x), own[0].weight[None]).flatten()}

    with pytest.raises(ValueError, match="not known for __getitem__"):
        clipped_sums({"net": network}, losses, (random(4, 3, 1, 1),), 1.0)


def test_networks_and_what_is_in_their_gradients_stay_as_they_are():
    network = filled(nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.Conv2d(2, 1, 2)))
    before = copy.deepcopy(network.state_dict())
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    clipped_sums({"net": network}, score(network), (random(3, 1, 4, 4),), 1.0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(bool((parameter.grad == 1).all()) for parameter in network.parameters())
    x = random(3, 1, 4, 4).requires_grad_()
    network(x).sum().backward()
    assert x.grad is not None and all(bool((parameter.grad != 1).any()) for parameter in network.parameters())
