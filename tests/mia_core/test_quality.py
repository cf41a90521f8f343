import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from mia_core import vision  # noqa: F401  before torchmetrics, which reaches torchvision
from mia_core.metrics import MEASURES, frechet_distance, kernel_distance, measure, prdc, quality
from mia_core.streams import Streams


def normal(count, dimension, seed, shift=0.0, scale=1.0):
    return torch.randn(count, dimension, generator=Streams(seed).torch("features")) * scale + shift


def distance(a, b):
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def radius(points, i, k):
    """Distance from point i to its k-th nearest other point."""
    return sorted(distance(points[i], points[j]) for j in range(len(points)) if j != i)[k - 1]


def slow_prdc(fake, real, k):
    """The definitions, pair by pair (Kynkaanniemi et al. 2019, eq. 1-2; Naeem et al. 2020, eq. 3-4)."""
    real_radius = [radius(real, i, k) for i in range(len(real))]
    fake_radius = [radius(fake, j, k) for j in range(len(fake))]
    in_real = [[distance(f, r) < real_radius[i] for i, r in enumerate(real)] for f in fake]
    in_fake = [[distance(f, r) < fake_radius[j] for j, f in enumerate(fake)] for r in real]
    return {
        "precision": sum(any(row) for row in in_real) / len(fake),
        "recall": sum(any(row) for row in in_fake) / len(real),
        "density": sum(map(sum, in_real)) / (k * len(fake)),
        "coverage": sum(any(in_real[j][i] for j in range(len(fake))) for i in range(len(real))) / len(real),
    }


def slow_kid(fake, real):
    """Unbiased squared MMD (Gretton et al. 2012, eq. 3) with the kernel (x.y / d + 1)^3."""
    d, m = fake.shape[1], len(fake)

    def kernel(x, y):
        return (float(x.double() @ y.double()) / d + 1) ** 3

    def within(a):
        return sum(kernel(a[i], a[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))

    between = sum(kernel(x, y) for x in fake for y in real) / m**2
    return within(fake) + within(real) - 2 * between


def slow_fid(fake, real):
    """‖mu - nu‖^2 + tr(S + T - 2 (S T)^1/2), with scipy's matrix square root (Heusel et al. 2017, eq. 6)."""
    fake, real = fake.double().numpy(), real.double().numpy()
    covariances = np.cov(fake, rowvar=False), np.cov(real, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    return float(((fake.mean(0) - real.mean(0)) ** 2).sum() + np.trace(sum(covariances) - 2 * root))


class Given(torch.nn.Module):
    """Passes features through; torchmetrics expects a network here."""

    def __init__(self, dimension):
        super().__init__()
        self.num_features = dimension

    def forward(self, features):
        return features


def by_torchmetrics(metric, fake, real):
    """With the order of records that the global generator gives after seed 0."""
    torch.manual_seed(0)
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    value = metric.compute()
    return float(value[0] if isinstance(value, tuple) else value)


@pytest.mark.parametrize(("counts", "dimension"), [((40, 40), 3), ((70, 51), 8), ((300, 300), 24)])
def test_kid_and_fid_have_the_bits_of_torchmetrics(counts, dimension):
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    fake, real = normal(counts[0], dimension, 1, shift=0.3), normal(counts[1], dimension, 2)
    fid = FrechetInceptionDistance(feature=Given(dimension), normalize=True).set_dtype(torch.float64)
    assert frechet_distance(fake, real) == by_torchmetrics(fid, fake, real)
    few = min(counts)
    kid = KernelInceptionDistance(feature=Given(dimension), subsets=1, subset_size=few, normalize=True)
    assert kernel_distance(fake, real) == by_torchmetrics(kid, fake[:few], real[:few])


@given(
    counts=st.tuples(st.integers(6, 14), st.integers(6, 14)),
    dimension=st.integers(1, 4),
    k=st.integers(1, 5),
    shift=st.sampled_from([0.0, 1.0, 50.0]),
    seed=st.integers(0, 1000),
)
def test_prdc_equals_its_definition_pair_by_pair(counts, dimension, k, shift, seed):
    fake, real = normal(counts[0], dimension, seed, shift), normal(counts[1], dimension, seed + 1)
    assert vars(prdc(fake, real, k)) == pytest.approx(slow_prdc(fake, real, k), abs=1e-12)


def plain_prdc(fake, real, k):
    """With whole matrices of distances, as this was written first: 3.2 GB each for 20,000 samples and records."""

    def distances(x, y):
        return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")

    radius_real, radius_fake = (distances(x, x).sort(1).values[:, k] for x in (real, fake))
    between = distances(fake, real)
    return {
        "precision": float((between < radius_real).any(1).double().mean()),
        "recall": float((between < radius_fake[:, None]).any(0).double().mean()),
        "density": float((between < radius_real).sum(1).double().mean() / k),
        "coverage": float((between.min(0).values < radius_real).double().mean()),
    }


@pytest.mark.parametrize("rows", [1, 7, 150, 1000])
@pytest.mark.parametrize("counts", [(150, 150), (150, 61), (61, 150)])
def test_prdc_in_blocks_of_any_size_has_the_bits_of_the_plain_version(monkeypatch, rows, counts):
    fake, real = normal(counts[0], 4, 1, shift=0.3), normal(counts[1], 4, 2)
    fake[:10] = real[:10]
    monkeypatch.setattr(quality, "BLOCK_BYTES", 8 * counts[1] * rows)
    assert vars(prdc(fake, real, 5)) == plain_prdc(fake, real, 5)


def test_prdc_holds_a_block_of_distances_and_no_more(monkeypatch):
    held = []
    plain = torch.cdist

    def watched(x, y, **mode):
        held.append(8 * len(x) * len(y))
        return plain(x, y, **mode)

    monkeypatch.setattr(torch, "cdist", watched)
    monkeypatch.setattr(quality, "BLOCK_BYTES", 2**20)
    prdc(normal(2000, 2, 1), normal(1500, 2, 2))
    assert max(held) <= 2**20 < sum(held)


def test_prdc_of_a_copy_of_the_records_is_perfect_with_density_one():
    # Strictly inside its ball each record has itself and its k - 1 nearest: k a ball.
    records = normal(40, 3, 0, shift=5.0)
    assert vars(prdc(records, records)) == {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}


def test_a_copied_record_is_in_the_balls_it_is_a_near_neighbor_of_and_not_in_that_it_bounds():
    real, copies, k = normal(60, 8, 2), 50, 5
    nearest = torch.cdist(real.double(), real.double()).argsort(1)[:, :k]  # itself and k - 1 others
    assert prdc(real[:copies], real, k).density == pytest.approx((nearest < copies).sum().item() / copies / k)


def test_prdc_of_samples_elsewhere_is_zero():
    assert set(vars(prdc(normal(20, 3, 0, shift=1e3), normal(20, 3, 1))).values()) == {0.0}


def test_prdc_tells_collapse_from_noise():
    real = normal(200, 2, 0)
    collapsed = prdc(normal(200, 2, 1, scale=0.05), real)
    scattered = prdc(normal(200, 2, 2, scale=20.0), real)
    assert collapsed.precision > 0.95 > 0.3 > collapsed.coverage
    assert collapsed.recall < 0.1 < 0.9 < scattered.recall
    assert scattered.precision < 0.1


def test_prdc_needs_more_points_than_neighbors():
    with pytest.raises(ValueError, match="needs more than 5 samples and records, got 5, 9"):
        prdc(normal(5, 2, 0), normal(9, 2, 1))
    assert prdc(normal(6, 2, 0), normal(6, 2, 1)).density >= 0


@given(st.integers(2, 9), st.integers(1, 5), st.sampled_from([0.0, 2.0]), st.integers(0, 1000))
def test_kid_is_the_closed_formula(count, dimension, shift, seed):
    fake, real = normal(count, dimension, seed, shift), normal(count, dimension, seed + 1)
    assert kernel_distance(fake, real) == pytest.approx(slow_kid(fake, real), rel=1e-9, abs=1e-9)


def test_kid_compares_the_first_records_where_counts_differ():
    fake, real = normal(9, 3, 0), normal(6, 3, 1)
    assert kernel_distance(fake, real) == pytest.approx(slow_kid(fake[:6], real), rel=1e-9)


def test_kid_of_one_distribution_is_zero_on_average():
    # Unbiased: the mean of 300 trials lies within four of its own standard errors of 0 (errs once in 15,000 seeds).
    values = np.array([kernel_distance(normal(40, 3, seed), normal(40, 3, 10_000 + seed)) for seed in range(300)])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(300)
    assert values.min() < 0 < values.max()
    assert kernel_distance(normal(40, 3, 0, shift=2.0), normal(40, 3, 1)) > 100 * abs(values.mean())


@given(st.integers(1, 4), st.sampled_from([0.0, 3.0]), st.sampled_from([0.5, 1.0]), st.integers(0, 1000))
def test_fid_is_the_formula_with_scipys_matrix_root(dimension, shift, scale, seed):
    fake, real = normal(30, dimension, seed, shift, scale), normal(40, dimension, seed + 1)
    if dimension > 1:
        assert frechet_distance(fake, real) == pytest.approx(slow_fid(fake, real), rel=1e-6, abs=1e-6)
    else:
        a, b = fake.double(), real.double()
        expected = float((a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2)
        assert frechet_distance(fake, real) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_fid_of_a_copy_is_zero():
    records = normal(50, 4, 0, shift=3.0)
    assert frechet_distance(records, records) == pytest.approx(0, abs=1e-6)


def test_fid_is_none_where_a_count_is_at_most_twice_the_dimension():
    for few, many in ((8, 100), (100, 8), (8, 8)):
        assert frechet_distance(normal(few, 4, 0), normal(many, 4, 1)) is None
    assert frechet_distance(normal(9, 4, 0), normal(9, 4, 1)) > 0


def test_measures_neither_read_nor_advance_the_global_generator():
    fake, real = normal(30, 4, 0), normal(30, 4, 1)
    torch.manual_seed(0)
    first = measure(MEASURES, fake, real)
    before = torch.random.get_rng_state()
    assert measure(MEASURES, fake, real) == first
    assert torch.equal(torch.random.get_rng_state(), before)


def test_measure_computes_what_is_asked_for_in_that_order():
    fake, real = normal(30, 4, 0), normal(30, 4, 1)
    everything = measure(MEASURES, fake, real)
    assert tuple(everything) == MEASURES
    assert everything["fid"] == frechet_distance(fake, real)
    assert everything["recall"] == prdc(fake, real).recall
    assert list(measure(("recall", "kid"), fake, real)) == ["recall", "kid"]
    assert measure(("fid",), normal(8, 4, 0), real) == {"fid": None}


def test_measures_of_worse_samples_are_worse():
    real, good, bad = normal(200, 4, 0), normal(200, 4, 1), normal(200, 4, 2, shift=1.0)
    near, far = measure(MEASURES, good, real), measure(MEASURES, bad, real)
    assert near["kid"] < far["kid"]
    assert near["fid"] < far["fid"]
    assert near["precision"] > far["precision"]
    assert near["coverage"] > far["coverage"]
