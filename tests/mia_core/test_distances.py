import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mia_core import distance_products
from mia_core import distances as distances_module
from mia_core.distance_products import Products
from mia_core.distances import Search, nearest
from mia_core.streams import Streams


def brute_force(x, y, k):
    """All differences, in double precision."""
    distances = (x.double()[:, None] - y.double()[None]).square().sum(-1).sqrt()
    return distances.sort(dim=1).values[:, :k]


def points(count, dimension, seed, purpose):
    return torch.randn(count, dimension, generator=Streams(seed).torch(purpose))


@given(
    queries=st.integers(1, 30),
    count=st.integers(1, 60),
    dimension=st.integers(1, 70),
    k=st.integers(1, 20),
    offset=st.sampled_from([0.0, 1.0, -100.0, 1e4]),
    seed=st.integers(0, 1000),
)
def test_nearest_equals_brute_force(queries, count, dimension, k, offset, seed):
    x, y = (points(n, dimension, seed, name) + offset for n, name in ((queries, "x"), (count, "y")))
    k = min(k, count)
    distances, indices = nearest(x, y, k, chunk=7)
    expected = brute_force(x, y, k)
    assert distances.shape == indices.shape == (queries, k)
    scale = float(expected.max())
    torch.testing.assert_close(distances.double(), expected, rtol=1e-5, atol=1e-6 * scale)
    reached = (x.double()[:, None] - y.double()[indices]).norm(dim=2)
    torch.testing.assert_close(reached, expected, rtol=1e-5, atol=1e-6 * scale)
    assert all(len(set(row)) == k for row in indices.tolist())


@given(offset=st.sampled_from([0.0, 0.3, -1000.0]), dimension=st.sampled_from([1, 64, 784]), seed=st.integers(0, 100))
def test_exact_copies_are_at_distance_exactly_zero(offset, dimension, seed):
    y = points(100, dimension, seed, "y") + offset
    chosen = torch.tensor([17, 3, 99])
    distances, indices = nearest(torch.cat([y[chosen], y[chosen] + 1.0]), y)
    assert torch.equal(distances[:3, 0], torch.zeros(3))
    assert torch.equal(y[indices[:3, 0]], y[chosen])
    assert bool((distances[3:] > 0).all()) or dimension == 1


def test_a_copy_is_found_in_a_tight_cluster_far_from_the_mean():
    # Samples of a collapsed generator: hundreds almost alike, where products of large numbers cannot tell them apart.
    cluster = 1.0 + 1e-4 * points(400, 256, 0, "cluster")
    y = torch.cat([cluster, -torch.ones(400, 256)])
    distances, indices = nearest(cluster[:50], y)
    assert torch.equal(distances[:, 0], torch.zeros(50))
    assert torch.equal(indices[:, 0], torch.arange(50))


def test_nearest_of_a_double_is_a_double():
    x, y = points(4, 3, 0, "x").double(), points(9, 3, 0, "y").double()
    distances, _ = nearest(x, y, 2)
    assert distances.dtype == torch.float64
    torch.testing.assert_close(distances, brute_force(x, y, 2), rtol=1e-12, atol=1e-12)


def test_inputs_are_left_alone():
    x, y = points(4, 3, 0, "x"), points(9, 3, 0, "y")
    kept = x.clone(), y.clone()
    nearest(x, y, 2)
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])


def test_more_neighbors_than_points_are_refused():
    with pytest.raises(ValueError, match="5 neighbors asked of 4 points"):
        nearest(torch.zeros(2, 3), torch.zeros(4, 3), 5)


# Many levels, k and radii of one search


@given(
    queries=st.integers(1, 30),
    count=st.integers(40, 400),
    dimension=st.integers(1, 70),
    k=st.integers(1, 20),
    scale=st.sampled_from([1.0, 1e-5]),
    offset=st.sampled_from([0.0, 1.0, -100.0]),
    seed=st.integers(0, 1000),
)
def test_a_search_answers_for_each_level_what_brute_force_does(queries, count, dimension, k, scale, offset, seed):
    x, y = (points(n, dimension, seed, name) * scale + offset for n, name in ((queries, "x"), (count, "y")))
    x[::3] = y[: len(x[::3])]  # copies, which are at distance exactly 0
    search, levels = Search(x, y), [20, 33, count]
    distances, indices = search.nearest(levels, k)
    every = (x.double()[:, None] - y.double()[None]).norm(dim=2)
    for number, level in enumerate(levels):
        torch.testing.assert_close(
            distances[number].double(), every[:, :level].sort(1).values[:, :k], rtol=1e-6, atol=1e-7 * scale
        )
        torch.testing.assert_close(every.gather(1, indices[number]), distances[number].double(), rtol=1e-6, atol=0)
        assert torch.equal(distances[number], nearest(x, y[:level], k)[0])
        rank = min(50, queries * level)
        radius = search.smallest(rank, level)
        assert radius == float(every[:, :level].flatten().sort().values[rank - 1])
        assert torch.equal(search.counts([radius], [level])[0], (every[:, :level] <= radius).sum(1))


def test_a_search_in_a_tight_cluster_is_exact():
    # Products of large numbers in float32 tell none of these apart.
    y = torch.cat([1.0 + 1e-4 * points(400, 256, 0, "cluster"), -torch.ones(400, 256)])
    search = Search(y[:50], y)
    distances, indices = search.nearest([400, 800])
    assert torch.equal(distances, torch.zeros(2, 50, 1))
    assert torch.equal(indices, torch.arange(50)[None, :, None].expand(2, -1, -1))
    assert torch.equal(search.counts([0.0, 0.0], [400, 800]), torch.ones(2, 50, dtype=torch.long))


def test_a_search_that_keeps_no_distances_and_one_of_small_blocks_answer_the_same(monkeypatch):
    x, y = points(90, 20, 0, "x"), points(700, 20, 0, "y")
    whole = Search(x, y)
    answers = whole.nearest([100, 700], 3), whole.counts([3.0, 2.0], [100, 700]), whole.smallest(9, 700)
    assert whole.elements == 90 * math.ceil(700 / 16)
    monkeypatch.setattr(distances_module, "BLOCK_ELEMENTS", 5000)
    monkeypatch.setattr(distances_module, "KEPT_ELEMENTS", 0)
    blocks = Search(x, y)
    for one, other in zip(answers[0], blocks.nearest([100, 700], 3), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(blocks.counts([3.0, 2.0], [100, 700]), answers[1])
    assert blocks.smallest(9, 700) == answers[2]
    assert blocks.elements == 0


def test_products_are_computed_once_for_all_questions(monkeypatch):
    x, y = points(90, 20, 0, "x"), points(700, 20, 0, "y")
    search, calls = Search(x, y), []
    plain = Products.minima
    monkeypatch.setattr(Products, "minima", lambda *given: calls.append(1) or plain(*given))
    search.nearest([100, 700], 3)
    search.counts([3.0, 2.0], [100, 700])
    search.nearest([700], 1)
    assert len(calls) == 1


def test_a_level_with_fewer_points_than_neighbors_is_refused():
    with pytest.raises(ValueError, match="5 neighbors asked of 4 points"):
        Search(torch.zeros(2, 3), torch.zeros(9, 3)).nearest([4, 9], 5)


# Points rounded to bfloat16


def images_like(count, dimension, seed, name, noise=0.02):
    """Points near 20 directions, as images are: their nearest neighbors are nearer than most points."""
    directions = points(20, dimension, seed, "directions")
    return points(count, 20, seed, name) @ directions + noise * points(count, dimension, seed, name + " noise")


@pytest.mark.long
@given(
    dimension=st.integers(1, 400),
    scale=st.sampled_from([1.0, 1e-5, 1e-20, 1e9]),
    offset=st.sampled_from([0.0, 1.0, 300.0]),
    kind=st.sampled_from(["apart", "copies", "collapsed"]),
    rounded=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_squares_of_products_are_within_their_errors(dimension, scale, offset, kind, rounded, seed):
    x, y = (images_like(n, dimension, seed, name) for n, name in ((20, "x"), (300, "y")))
    if kind == "copies":
        x = y[:20].clone()
    if kind == "collapsed":
        y = y[:1] + 1e-4 * y
    x, y = scale * (x + offset), scale * (y + offset)
    products = Products(y, rounded=rounded)
    weights, errors = products.weights(x)
    exact = (x.double()[:, None] - y.double()[None]).norm(dim=2)
    minima, squares = products.minima(weights), products.squares(weights, 300)
    members = products.of_groups(weights, torch.arange(20), torch.arange(20) % 19)
    assert bool((minima == torch.inf).sum() == 0)
    assert bool((members[18, 12:] == torch.inf).all()), "300 points are 18 groups and 12 more"
    groups = torch.arange(300) // 16
    nearest_of_group = torch.full((20, 19), torch.inf, dtype=torch.float64).scatter_reduce(
        1, groups.expand(20, -1), exact, "amin"
    )
    of_members = torch.nn.functional.pad(exact, (0, 4), value=torch.inf).unflatten(1, (19, 16))
    of_members = of_members[torch.arange(20), torch.arange(20) % 19]
    for found, true in ((squares, exact), (minima, nearest_of_group), (members, of_members)):
        for column in range(found.shape[1]):
            some = true[:, column].isfinite()
            value, distance, error = found[some, column], true[some, column], errors[some]
            assert bool((error.highest(value) >= distance).all())
            assert bool((value.double() <= error.possible(distance)).all())
            assert bool((value > error.certain(distance * (1 - 1e-9) - 1e-300)).all()), "it is farther than that"


@given(rounded=st.booleans(), scale=st.sampled_from([1e-5, 1.0, 1e9]), seed=st.integers(0, 1000))
def test_norms_keep_the_digits_of_float32(rounded, scale, seed):
    products = Products(scale * points(40, 30, seed, "y"), rounded=rounded)
    coordinates, norms = products.matrix[:40, :30].double(), products.matrix[:40, 30:].double()
    parts = norms.shape[1] // 2 if not rounded else 3
    torch.testing.assert_close(norms[:, :parts].sum(1), coordinates.square().sum(1), rtol=2e-6, atol=0)


def test_rounding_decides_most(monkeypatch):
    # Bounds that decide nothing would be within their errors, too.
    x, y = (images_like(n, 324, 0, name) for n, name in ((100, "x"), (2000, "y")))
    search, measured = Search(x, y, Products(y, rounded=True)), []
    plain = Search._between
    monkeypatch.setattr(Search, "_between", lambda self, i, j: measured.append(len(i)) or plain(self, i, j))
    every = (x.double()[:, None] - y.double()[None]).norm(dim=2)
    assert torch.equal(search.nearest([2000])[0][0, :, 0], every.amin(1).float())
    assert sum(measured) < 300
    measured.clear()
    radius = float(every.flatten().kthvalue(2000).values)
    assert torch.equal(search.counts([radius], [2000])[0], (every <= radius).sum(1))
    assert sum(measured) < 1000, "of 2,000 that are within the radius, and as many that are little beyond"


@given(
    count=st.integers(256, 420),
    dimension=st.integers(1, 300),
    k=st.integers(1, 20),
    kind=st.sampled_from(["apart", "copies", "ties", "collapsed", "far", "alike"]),
    crowd=st.sampled_from([0, 3, 256]),
    rounded=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_search_answers_what_brute_force_does_rounded_or_not(count, dimension, k, kind, crowd, rounded, seed):
    x, y = (images_like(n, dimension, seed, name) for n, name in ((25, "x"), (count, "y")))
    match kind:
        case "copies":
            x[::3] = y[: len(x[::3])]
        case "ties":
            y[100:200] = y[:100]
        case "collapsed":
            y[: count // 2] = y[0] + 1e-6 * y[: count // 2]
            x[:5] = y[3:8]
        case "far":
            x, y = x + 100, y + 100
        case "alike":
            y = y[:1] + 1e-3 * y
    levels = [20, 50, count]
    every = (x.double()[:, None] - y.double()[None]).norm(dim=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances_module, "MOST_PAIRS", crowd)
        search = Search(x, y, Products(y, rounded=rounded))
        distances, indices = search.nearest(levels, k)
        radii = [float(every[:, :level].flatten().kthvalue(30).values) for level in levels]
        counts = search.counts(radii, levels)
        smallest = [search.smallest(30, level) for level in levels]
        other = search.among(x[:4].double()).nearest(levels, k)[0]
    for number, level in enumerate(levels):
        expected = every[:, :level].sort(1).values[:, :k]
        assert torch.equal(distances[number], expected.float())
        torch.testing.assert_close(every.gather(1, indices[number]), expected, rtol=1e-12, atol=0)
        assert all(len(set(row)) == k for row in indices[number].tolist())
        torch.testing.assert_close(other[number], expected[:4], rtol=1e-12, atol=0)
        assert torch.equal(counts[number], (every[:, :level] <= radii[number]).sum(1)), "a radius that is a distance"
    assert smallest == radii


def test_a_level_of_one_point_has_one_neighbor():
    x, y = (images_like(n, 120, 0, name) for n, name in ((9, "x"), (300, "y")))
    for rounded in (False, True):
        distances, indices = Search(x, y, Products(y, rounded=rounded)).nearest([1, 300])
        assert torch.equal(distances[0, :, 0], (x.double() - y[0].double()).norm(dim=1).float())
        assert torch.equal(indices[0], torch.zeros(9, 1, dtype=torch.long))
        assert torch.equal(distances[1], nearest(x, y)[0])


def test_where_rounding_decides_little_a_finer_product_counts(monkeypatch):
    x, y = (images_like(n, 120, 0, name) for n, name in ((30, "x"), (300, "y")))
    y = y[:1] + 1e-3 * y
    every = (x.double()[:, None] - y.double()[None]).norm(dim=2)
    radius, made = float(every.flatten().median()), []
    search = Search(x, y, Products(y, rounded=True))
    finer = Search._finer
    monkeypatch.setattr(Search, "_finer", lambda *given: made.append(1) or finer(*given))
    monkeypatch.setattr(distances_module, "WORTH", 10000)
    assert torch.equal(search.counts([radius], [300])[0], (every <= radius).sum(1))
    assert made


@pytest.fixture
def asked_again():
    distance_products._bfloat16_is_faster.cache_clear()
    yield
    distance_products._bfloat16_is_faster.cache_clear()


@pytest.mark.parametrize(
    ("dimension", "units", "times", "rounded"),
    [
        (96, ["amx_bf16"], 4, True),
        (95, ["amx_bf16"], 4, False),
        (784, ["avx512_bf16"], 4, True),
        (784, ["avx512_bf16"], 1.5, False),
        (784, ["bf16"], 4, False),
        (784, [], 4, False),
    ],
)
def test_points_are_rounded_where_that_is_faster(monkeypatch, asked_again, dimension, units, times, rounded):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(units, True))
    monkeypatch.setattr(distance_products, "_seconds", lambda dtype: times if dtype == torch.float32 else 1)
    assert Products(points(40, dimension, 0, "y")).rounded == (rounded and torch.backends.mkldnn.is_available())


def test_whether_rounding_is_faster_is_measured_once(monkeypatch, asked_again):
    asked = []
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    monkeypatch.setattr(distance_products, "_seconds", lambda dtype: asked.append(dtype) or 1)
    for _ in range(2):
        Products(points(40, 96, 0, "y"))
    assert asked == [torch.float32, torch.bfloat16] * torch.backends.mkldnn.is_available()
