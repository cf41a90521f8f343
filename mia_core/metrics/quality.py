"""Sample quality on features of a named extractor: KID, FID, precision, recall, density, coverage.

KID and FID have the bits of torchmetrics, whose import takes seconds of every worker.
Shapes: F fake features [M,d], R real features [N,d]. All are compared at equal counts in every trial of a study.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

VERSIONS = {"kid": 1, "fid": 1, "precision": 1, "recall": 1, "density": 1, "coverage": 1}
"""Version of each measure's values; raise it if a change alters them."""
MEASURES = tuple(VERSIONS)
NEIGHBORS = 5
BLOCK_BYTES = 64 * 2**20
"""Bytes of distances that `prdc` holds at a time: all of 20,000 samples and records would be 3.2 GB."""


def frechet_distance(fake_MD: torch.Tensor, real_ND: torch.Tensor) -> float | None:
    """FID (Heusel et al. 2017); None if a count is at most 2 d, too few for a covariance."""
    dimension = fake_MD.shape[1]
    if min(len(fake_MD), len(real_ND)) <= 2 * dimension:
        return None
    (mean_F, covariance_F), (mean_R, covariance_R) = map(_moments, (fake_MD.double(), real_ND.double()))
    root = torch.linalg.eigvals(covariance_R @ covariance_F).sqrt().real.sum(-1)
    return float((mean_R - mean_F).square().sum() + (covariance_R.trace() + covariance_F.trace()) - 2 * root)


def kernel_distance(fake_MD: torch.Tensor, real_ND: torch.Tensor) -> float:
    """KID (Binkowski et al. 2018): the unbiased squared MMD with a cubic kernel, on all records at once."""
    count = min(len(fake_MD), len(real_ND))
    # Sums depend on the order of records: it is that of torchmetrics, which permutes them.
    random = torch.Generator().manual_seed(0)
    real, fake = (rows[:count].double()[torch.randperm(count, generator=random)] for rows in (real_ND, fake_MD))
    within = _between_others(_cubic(real, real)) + _between_others(_cubic(fake, fake))
    between = _cubic(real, fake).sum(0).sum()
    return float(within / (count * (count - 1)) - 2 * between / count**2)


def _cubic(x_MD: torch.Tensor, y_ND: torch.Tensor) -> torch.Tensor:
    """The kernel (x.y / d + 1)^3, [M,N]."""
    return (x_MD @ y_ND.T * (1.0 / x_MD.shape[1]) + 1.0) ** 3


def _between_others(kernel_NN: torch.Tensor) -> torch.Tensor:
    """The sum of a kernel matrix without its diagonal."""
    return (kernel_NN.sum(1) - kernel_NN.diag()).sum()


def _moments(x_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [d] and covariance [d,d], with N - 1."""
    mean_1D = (x_ND.sum(0) / len(x_ND))[None]
    return mean_1D[0], (x_ND.T.mm(x_ND) - len(x_ND) * mean_1D.T.mm(mean_1D)) / (len(x_ND) - 1)


@dataclass(frozen=True)
class Prdc:
    """Shares in [0, 1], except density, which is in [0, N / k]."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(fake_MD: torch.Tensor, real_ND: torch.Tensor, neighbors: int = NEIGHBORS) -> Prdc:
    """Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    The ball of a point reaches to its k-th nearest neighbor in its own set, not counting itself. Distances are computed
    in blocks. ValueError if a set has at most k points.
    """
    if min(len(fake_MD), len(real_ND)) <= neighbors:
        raise ValueError(f"prdc: needs more than {neighbors} samples and records, got {len(fake_MD)}, {len(real_ND)}")
    fake, real = fake_MD.double(), real_ND.double()
    radius_real, radius_fake = _radii(real, neighbors), _radii(fake, neighbors)
    precise = inside = 0
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    nearest = torch.full((len(real),), torch.inf, dtype=real.dtype, device=real.device)
    for start, distance_BN in _blocks(fake, real):
        in_real_ball = distance_BN < radius_real
        precise += int(in_real_ball.any(1).sum())
        inside += int(in_real_ball.sum())
        recalled |= (distance_BN < radius_fake[start : start + len(distance_BN), None]).any(0)
        nearest = torch.minimum(nearest, distance_BN.min(0).values)
    return Prdc(
        precision=precise / len(fake),
        recall=float(recalled.double().mean()),
        density=inside / len(fake) / neighbors,
        coverage=float((nearest < radius_real).double().mean()),
    )


def _radii(x_ND: torch.Tensor, neighbors: int) -> torch.Tensor:
    """[N]: radius of each point's ball."""
    return torch.cat([distance_BN.kthvalue(neighbors + 1, dim=1).values for _, distance_BN in _blocks(x_ND, x_ND)])


def _blocks(x_MD: torch.Tensor, y_ND: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Blocks of rows of x: the index of the first row, and distances [B,N] to all of y, BLOCK_BYTES at a time.

    The distance of the same two points has the same bits everywhere, so that a copy of the record on a ball's edge is
    not inside.
    """
    rows = max(1, BLOCK_BYTES // (y_ND.element_size() * len(y_ND)))
    for start in range(0, len(x_MD), rows):
        part = x_MD[start : start + rows]
        yield start, torch.cdist(part, y_ND, compute_mode="donot_use_mm_for_euclid_dist")


def measure(names: tuple[str, ...], fake_MD: torch.Tensor, real_ND: torch.Tensor) -> dict[str, float | None]:
    """The requested measures of `MEASURES` by name; None if the counts are too small for one."""
    values: dict[str, float | None] = {}
    if "kid" in names:
        values["kid"] = kernel_distance(fake_MD, real_ND)
    if "fid" in names:
        values["fid"] = frechet_distance(fake_MD, real_ND)
    if set(names) & set(vars(Prdc)["__dataclass_fields__"]):
        values |= vars(prdc(fake_MD, real_ND))
    return {name: values[name] for name in names}
