"""Attacks on samples, beside slow computations of the same and on models whose AUC is known in closed form."""

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde, multivariate_normal, norm

from mia_core.attacks import ATTACKS, Attack, Knowledge, Scores
from mia_core.attacks.attack import SampleLevels
from mia_core.errors import Refused
from mia_core.metrics import judge
from mia_core.models import SampleFolder, Sampler, Snapshot
from mia_core.settings import settings
from mia_core.spaces import ColorHistogram, Hog, Pca, embedded
from mia_core.streams import Streams
from tests.mia_core.replay import Replay, images_of_the_law

NESTED = [100, 700]


def pooled(images):
    """An extractor that keeps records apart: means of 2x2 pixels."""
    return torch.nn.functional.avg_pool2d(images, 2).flatten(1)


def scores_of(spec, model, queries, reference):
    attack = ATTACKS.choose(spec).build()
    known = {"reference": reference, "extractor": pooled}
    knowledge = Knowledge(**{word: known[word] for word in attack.needs})
    return attack(model, queries, knowledge, Streams(4)).scores.values.double().numpy()


@pytest.fixture(scope="module")
def law():
    """Samples, queries and reference records of one law, in 16 dimensions of 64."""
    axes = torch.randn(16, 64, generator=Streams(0).torch("axes"))

    def draw(count, seed):
        z = torch.randn(count, 16, generator=Streams(seed).torch("z"))
        return (z @ axes / 8).tanh().reshape(-1, 1, 8, 8)

    return draw


# Slow computations of the same


@pytest.mark.parametrize("space", ["pca", "features"])
def test_nearest_is_minus_the_least_distance_in_its_space(law, space):
    samples, queries, reference = law(700, 1), law(40, 2), law(90, 3)
    found = scores_of(
        {"name": "nearest", "space": space, "generated": NESTED}, SampleFolder(samples), queries, reference
    )
    embed = pooled if space == "features" else Pca(reference, 40)
    distances = torch.cdist(embedded(embed, queries).double(), embedded(embed, samples).double())
    for values, level in zip(found, NESTED, strict=True):
        np.testing.assert_allclose(values, -distances[:, :level].min(1).values, rtol=1e-5)


@pytest.mark.parametrize("radius", ["median", "percentile"])
@pytest.mark.parametrize("space", ["pca", "hog", "color"])
def test_monte_carlo_is_the_share_of_samples_within_a_radius_that_reference_records_set(law, space, radius):
    samples, queries, reference = law(700, 1), law(40, 2), law(90, 3)
    spec = {"name": "monte_carlo", "space": space, "generated": NESTED, "radius": radius, "percentile": 0.5}
    found = scores_of(spec, SampleFolder(samples), queries, reference)
    embed = {"pca": Pca(reference, 40), "hog": Hog(), "color": ColorHistogram()}[space]
    x, g, r = (embedded(embed, images).double() for images in (queries, samples, reference))
    for values, level in zip(found, NESTED, strict=True):
        (to_queries, to_reference) = ((points[:, None] - g[None, :level]).norm(dim=2) for points in (x, r))
        epsilon = (
            to_reference.min(1).values.median()
            if radius == "median"
            else to_reference.flatten().sort().values[int(np.ceil(0.005 * to_reference.numel())) - 1]
        )
        # Equal distances in the discrete color space are equal up to rounding.
        low, high = ((to_queries <= epsilon * (1 + sign * 1e-12)).double().mean(1).numpy() for sign in (-1, 1))
        assert ((low - 1e-6 <= values) & (values <= high + 1e-6)).all()
        assert 0 < values.mean() < 0.5


@pytest.mark.parametrize("generated", [1, [1, 100]])
def test_a_density_of_a_single_sample_is_refused_as_a_setting(generated):
    with pytest.raises(Refused, match=r"^attack\.generated: a density takes at least 2 samples"):
        ATTACKS.choose({"name": "domias", "generated": generated})


def test_domias_is_the_difference_of_scipys_log_densities(law):
    samples, queries, reference = law(700, 1), law(40, 2), law(300, 3)
    found = scores_of(
        {"name": "domias", "components": 5, "generated": NESTED}, SampleFolder(samples), queries, reference
    )
    x, g, r = (embedded(Pca(reference, 5), images).double().numpy().T for images in (queries, samples, reference))
    for values, level in zip(found, NESTED, strict=True):
        expected = gaussian_kde(g[:, :level]).logpdf(x) - gaussian_kde(r).logpdf(x)
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)


def test_gen_lra_is_the_sum_of_log_ratios_of_a_density_with_and_without_the_query(law):
    samples, queries, reference = law(700, 1), law(40, 2), law(300, 3)
    spec = {"name": "gen_lra", "components": 5, "neighbors": 7, "generated": NESTED}
    found = scores_of(spec, SampleFolder(samples), queries, reference)
    x, g, r = (embedded(Pca(reference, 5), images).double().numpy() for images in (queries, samples, reference))
    without = gaussian_kde(r.T)
    for values, level in zip(found, NESTED, strict=True):
        for value, query in zip(values, x, strict=True):
            near = g[:level][np.argsort(np.linalg.norm(g[:level] - query, axis=1))[:7]]
            kernels = multivariate_normal(query, without.covariance).pdf(near)
            p_R = without.pdf(near.T)
            p_Rx = (300 * p_R + kernels) / 301
            constant = 7 * np.log(300 / 301)
            assert np.exp(value) + constant == pytest.approx((np.log(p_Rx) - np.log(p_R)).sum(), rel=1e-4, abs=1e-9)


def test_gen_lra_ranks_queries_that_change_no_density_in_float(law):
    far = torch.linspace(0.5, 1, 30)[:, None, None, None].expand(30, 1, 8, 8).contiguous()
    spec = {"name": "gen_lra", "components": 5, "generated": 100}
    (values,) = scores_of(spec, SampleFolder(law(100, 1) * 0.01), far, law(300, 3) * 0.01)
    assert (np.exp(values) == 0).all()
    assert (np.diff(values) < 0).all()


# Known answers

COPIES = {
    "euclidean": {},
    "nearest pca": {},
    "nearest features": {"space": "features"},
    "monte_carlo pca": {"radius": "percentile", "percentile": 1e-9},
    "monte_carlo hog": {"space": "hog", "radius": "percentile", "percentile": 1e-9},
    "monte_carlo color": {"space": "color", "radius": "percentile", "percentile": 1e-9},
    "gen_lra": {"components": 30, "neighbors": 1},
}


@pytest.mark.parametrize("name", COPIES)
def test_a_sampler_that_replays_members_has_the_auc_of_the_formula(name):
    # AUC = 1/2 + 1/2 (1 - (1 - p/n)^N); its deviation is at most sqrt(1/12 (1/n + 1/m)) = .0167, and the margin four
    # of those. Monte Carlo's radius is the least distance of as many reference records: about one other gets as near.
    n, p = 600, 0.6
    members, others, reference = (images_of_the_law(n, seed, size=8) for seed in (1, 2, 3))
    spec = {"name": name.split()[0], "generated": [n, 2 * n], **COPIES[name]}
    model = Snapshot(Replay(members, p), Streams(3))
    for values, generated in zip(
        scores_of(spec, model, torch.cat([members, others]), reference), (n, 2 * n), strict=True
    ):
        auc = judge(values.astype(np.float32), np.repeat([True, False], n)).auc
        assert auc == pytest.approx(0.5 + 0.5 * (1 - (1 - p / n) ** generated), abs=0.07)


class Inner(Attack):
    """The inner product with the samples' mean: the best attack on a Gaussian's fitted mean."""

    name = "inner"
    uses = frozenset({"samples"})
    nested = "generated"

    @settings
    class Config:
        """generated: samples to draw."""

        generated: SampleLevels = 100

    def run(self, view, queries, knowledge, rng):
        means = torch.stack([view.samples(level).flatten(1).mean(0) for level in self.numbers])
        return Scores(self.levels, means @ queries.flatten(1).T)


def test_the_number_released_from_a_fitted_gaussian_sets_the_auc_by_the_closed_form():
    # AUC = Phi(sqrt(d / 2n) / sqrt(1 + n/N)). One run's deviation is about .035; the margin is four of the mean's.
    n, runs, scale, released = 100, 60, 0.15, (30, 100, 1000)
    found = []
    for seed in range(runs):
        x = scale * torch.randn(2 * n, 1, 8, 8, generator=Streams(seed).torch("records"))
        mean = x[:n].mean(0)
        model = Sampler(
            lambda k, random, mean=mean: mean + scale * torch.randn(k, 1, 8, 8, generator=random), seed=seed
        )
        scores = Inner(Inner.Config(generated=released))(model, x, Knowledge(), Streams(0)).scores
        found.append([judge(values.numpy(), np.repeat([True, False], n)).auc for values in scores.values])
    expected = norm.cdf((64 / (2 * n)) ** 0.5 / (1 + n / np.array(released)) ** 0.5)
    np.testing.assert_allclose(np.mean(found, 0), expected, atol=4 * 0.035 / runs**0.5)


def test_domias_finds_the_shift_between_generator_and_population():
    # Members N(mu, I) as the samples, others N(0, I) as the reference records, |mu| = 1.5: no score has more than
    # AUC = Phi(|mu| / sqrt 2) = .856, which the ratio of both densities has. Deviation with 1,500 of each .007.
    def draw(count, seed, shift):
        x = torch.randn(count, 1, 1, 2, generator=Streams(seed).torch("x")) / 8
        x[..., 0] += shift / 8
        return x.clamp(-1, 1)

    queries = torch.cat([draw(1500, 1, 1.5), draw(1500, 2, 0.0)])
    model = SampleFolder(draw(3000, 3, 1.5))
    (values,) = scores_of({"name": "domias", "generated": 3000}, model, queries, draw(3000, 4, 0.0))
    auc = judge(values.astype(np.float32), np.repeat([True, False], 1500)).auc
    assert auc == pytest.approx(norm.cdf(1.5 / 2**0.5), abs=0.028)


ON_SAMPLES = [
    {"name": "euclidean"},
    {"name": "nearest"},
    {"name": "nearest", "space": "features"},
    {"name": "monte_carlo"},
    {"name": "monte_carlo", "space": "hog"},
    {"name": "monte_carlo", "space": "color"},
    {"name": "domias", "components": 5},
    {"name": "gen_lra", "components": 5},
]


@pytest.mark.parametrize("spec", ON_SAMPLES, ids=lambda spec: " ".join(str(value) for value in spec.values()))
def test_samples_that_are_independent_of_members_give_one_half(law, spec):
    # 24 draws of 60 members and 60 others: the deviation of the mean is .053 / sqrt 24 = .011, and the margin four.
    found = []
    for seed in range(24):
        model, queries = SampleFolder(law(300, 10 + seed)), law(120, 100 + seed)
        values = scores_of({**spec, "generated": [30, 300]}, model, queries, law(150, 200 + seed))
        found.append([judge(row.astype(np.float32), np.repeat([True, False], 60)).auc for row in values])
    np.testing.assert_allclose(np.mean(found, 0), 0.5, atol=0.045)
