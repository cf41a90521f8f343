"""`python -m benchmarks distances`: all distance attacks of a trial at all numbers of samples, beside scikit-learn.

The attacks of configs/attacks_digits.yaml and attacks_fashion_mnist.yaml that look for near samples, at 100, 1,000 and
10,000 of them: nearest neighbor in pixels, PCA and features; Monte Carlo in PCA, HOG and color histograms, with its
radius by reference records; the ten neighbors of Gen-LRA; the three starts of latent searches. Ours share a search a
space (`mia_core.distances.Search`). The other way is one brute-force search of scikit-learn in float32 for each attack
and number of samples, and for Monte Carlo one of the reference records besides. Both get the same points, and as many
threads.

The command checks that both find the same distances and counts, and prints how much more CPU time scikit-learn takes
than ours, and than ours with no points rounded to bfloat16, as on processors without units for these.
"""

import argparse
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from benchmarks.measuring import interleaved, spread, table
from mia_core.data.pool import to_uint8
from mia_core.distance_products import Products
from mia_core.distances import Search
from mia_core.front import train
from mia_core.spaces import ColorHistogram, Hog, Pca, Pixels, Space, embedded
from mia_core.streams import Streams

LEVELS = (100, 1000, 10000)
NEIGHBORS = {
    "euclidean": ("pixels", 1, LEVELS),
    "nearest pca": ("pca", 1, LEVELS),
    "nearest features": ("features", 1, LEVELS),
    "gen_lra": ("pca 16", 10, LEVELS),
    "latent": ("pixels", 3, LEVELS[-1:]),
    "generator": ("pixels", 3, LEVELS[-1:]),
}
"""Space, neighbors and numbers of samples, by attack."""
COUNTS = {"monte_carlo pca": "pca", "monte_carlo hog": "hog", "monte_carlo color": "color"}
TRIALS = {
    "digits, 16 x 16, a DCGAN's samples": ("digits", 16, 440, 400),
    "random, 16 x 16": ("flat", 16, 440, 400),
    "random, 28 x 28": ("flat", 28, 1280, 1000),
}
"""Images, side, judged records, reference records."""

TRAINED, EPOCHS = 280, 40
"""Records of the DCGAN."""
ROUNDING = 5e-3
"""Of a radius: scikit-learn's in float32."""

Points = dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""By space: queries [Q,D], samples [N,D], reference records [R,D]."""


def digits(side: int, counts: Sequence[int]) -> torch.Tensor:
    """Images of queries, samples and reference records: of scikit-learn's digits, and a DCGAN's that saw 280 others."""
    queries, samples, reference = counts
    small = torch.from_numpy(load_digits().images / 8 - 1).float()[:, None]
    records = _resized(small, side)[Streams("benchmark").numpy("records").permutation(len(small))]
    asked, others, seen, _ = records.split([queries, reference, TRAINED, len(small) - queries - reference - TRAINED])
    model = train({"name": "dcgan", "width": 16, "norm": "batch"}, to_uint8(seen), epochs=EPOCHS)
    return torch.cat([asked, model.samples(samples), others])


def flat(side: int, counts: Sequence[int]) -> torch.Tensor:
    """The same of random images of (side / 2)^2 directions of equal variance, which no few directions stand for."""
    noise = torch.randn(sum(counts), 1, side // 2, side // 2, generator=Streams("benchmark").torch("images"))
    return _resized(noise, side).tanh()


def _resized(images: torch.Tensor, side: int) -> torch.Tensor:
    return torch.nn.functional.interpolate(images, size=(side, side), mode="bilinear")


def points(images: torch.Tensor, counts: Sequence[int]) -> Points:
    """Queries, samples and reference records in each space; features are a random projection."""
    side, reference = images.shape[-1], counts[-1]
    records = images[-reference:]
    weights = torch.randn(side**2, 32, generator=Streams("benchmark").torch("features"))
    spaces: dict[str, Space] = {
        "pixels": Pixels(),
        "pca": Pca(records, 40),
        "pca 16": Pca(records, 16),
        "features": lambda x: torch.relu(x.flatten(1) @ weights),
        "hog": Hog(),
        "color": ColorHistogram(),
    }
    found = {}
    for name, space in spaces.items():
        x, y, r = embedded(space, images).split(list(counts))
        found[name] = (x, y, r)
    return found


def ours(given: Points, slack: float = 0.0, rounded: bool | None = None) -> dict[str, torch.Tensor]:
    """Distances [L,Q,k], or counts [L,Q], by attack.

    slack: added to Monte Carlo's radii, as a share of them. rounded: see `Products`.
    """
    searches = {name: Search(x, y, Products(y, rounded=rounded)) for name, (x, y, _) in given.items()}
    found = {attack: searches[space].nearest(levels, k)[0] for attack, (space, k, levels) in NEIGHBORS.items()}
    for attack, space in COUNTS.items():
        radii = radii_of(searches[space], given[space][2])
        found[attack] = searches[space].counts([(1 + slack) * radius for radius in radii], LEVELS)
    return found


def radii_of(search: Search, reference: torch.Tensor) -> list[float]:
    """Medians over reference records of the distance to the nearest sample, by level."""
    return search.among(reference.double()).nearest(LEVELS)[0][:, :, 0].median(1).values.tolist()


def theirs(given: Points, radii: dict[str, list[float]] | None) -> dict[str, np.ndarray]:
    """The same. radii: of Monte Carlo, where they are known; None searches among reference records first."""
    found = {}
    for attack, (space, k, levels) in NEIGHBORS.items():
        x, y, _ = (part.numpy() for part in given[space])
        found[attack] = np.stack([_fitted(y[:level], k).kneighbors(x)[0] for level in levels])
    for attack, space in COUNTS.items():
        x, y, reference = (part.numpy() for part in given[space])
        columns = []
        for number, level in enumerate(LEVELS):
            fitted = _fitted(y[:level], 1)
            radius = (
                radii[space][number]
                if radii
                else float(np.quantile(fitted.kneighbors(reference)[0], 0.5, method="lower"))
            )
            near = fitted.radius_neighbors(x, radius, return_distance=False)
            columns.append([len(indices) for indices in near])
        found[attack] = np.array(columns)
    return found


def _fitted(y: np.ndarray, k: int) -> NearestNeighbors:
    return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(y)


def check(given: Points) -> None:
    """AssertionError unless both find the same; counts, but for what is at the radius up to rounding."""
    mine, other, float32 = ours(given), theirs(given, None), ours(given, rounded=False)
    for attack, values in mine.items():
        assert torch.equal(values, float32[attack]), attack
    for attack in NEIGHBORS:
        np.testing.assert_allclose(mine[attack], other[attack], rtol=1e-3, atol=1e-3, err_msg=attack)
    fewer, more = ours(given, -ROUNDING), ours(given, ROUNDING)
    for attack in COUNTS:
        assert (fewer[attack].numpy() <= other[attack]).all(), attack
        assert (other[attack] <= more[attack].numpy()).all(), attack


def main(arguments: Sequence[str]) -> int:
    """0; an AssertionError where results differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks distances", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=120.0, help="of each size, at most")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = []
    with threadpool_limits(options.threads), torch.inference_mode():
        for name, (images, side, queries, reference) in TRIALS.items():
            counts = (queries, LEVELS[-1], reference)
            with torch.inference_mode(False):  # it trains
                drawn = {"digits": digits, "flat": flat}[images](side, counts)
            given = points(drawn, counts)
            check(given)
            radii = {space: radii_of(Search(*given[space][:2]), given[space][2]) for space in COUNTS.values()}
            seconds = interleaved(
                {
                    "ours": partial(ours, given),
                    "float32": partial(ours, given, rounded=False),
                    "theirs": partial(theirs, given, None),
                    "without": partial(theirs, given, radii),
                },
                options.rounds,
                options.seconds,
                "cpu",
                time.process_time,
            )
            pairs = (("theirs", "ours"), ("without", "ours"), ("theirs", "float32"))
            rows.append([name, *(spread(seconds[way] / seconds[other]) for way, other in pairs)])
    known = "scikit-learn without Monte Carlo's radius / ours"
    columns = ("records", "scikit-learn / ours", known, "scikit-learn / ours in float32")
    table(f"All distance attacks of a trial at {LEVELS} samples, {options.threads} threads", columns, rows)
    return 0
