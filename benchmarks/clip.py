"""`python -m benchmarks clip`: what of a record passes a clip, where its gradient is a small difference of large terms.

Each case is one record beside three ordinary ones, in networks of single layers with losses <y, r>, so that r is the
gradient of a layer's output. Its exact norm is by plain autograd on the same numbers in float64, and C a hundredth of
that: at 100, all of it passes. The plain rule divides by the root of the Gram square as it is computed,
sqrt(max(G, 0)); ours, DPSGD's, by an upper bound of the norm. What passes is how far the record moves the sum: the
difference of the sums with and without it, taken in float64. Norms are those of the draw in which the plain rule lets
most pass; what passes is the most in all draws.

bfloat16 has no row: the trainer refuses it with private arms, and so does the clip. Exit code 1: more than
C (1 + 1e-4) passes ours. A few seconds.
"""

import argparse
import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from benchmarks.measuring import table
from mia_core.defenses.clipping import clipped_sums, record
from mia_core.defenses.norms import norm_bounds
from mia_core.defenses.tape import Tape
from mia_core.defenses.units import Units
from mia_core.streams import Streams

LEFT = {torch.float32: 1e-5, torch.float64: 2e-10}
"""What cancelling terms leave, relative to the sum of their magnitudes: less than the root of the unit round-off."""
BOUND = 1 + 1e-4
SHARE = 0.01
"""C, of the record's norm."""
ORDINARY = 3
"""Records beside the worst."""

Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """Networks of one layer, and pairs (x, r) [B,...] of each: inputs, and gradients of outputs. Record 0 is the worst.

    Several pairs per network are several uses.
    """

    networks: dict[str, nn.Module]
    pairs: dict[str, list[Pair]]

    def to(self, dtype: torch.dtype) -> "Case":
        """The same numbers in another precision."""
        pairs = {name: [(x.to(dtype), r.to(dtype)) for x, r in uses] for name, uses in self.pairs.items()}
        return Case({name: copy.deepcopy(network).to(dtype) for name, network in self.networks.items()}, pairs)

    def without(self, row: int) -> "Case":
        """The other records."""
        pairs = {
            name: [(torch.cat([x[:row], x[row + 1 :]]), torch.cat([r[:row], r[row + 1 :]])) for x, r in uses]
            for name, uses in self.pairs.items()
        }
        return Case(self.networks, pairs)

    @property
    def records(self) -> tuple[torch.Tensor, ...]:
        """All tensors, as records are given."""
        return tuple(part for uses in self.pairs.values() for pair in uses for part in pair)

    def losses(self, networks: Mapping[str, nn.Module], *records: torch.Tensor) -> dict[str, torch.Tensor]:
        """<y, r> [B], by network."""
        values, start = {}, 0
        for name, uses in self.pairs.items():
            own = records[start : start + 2 * len(uses)]
            terms = [(networks[name](x) * r).flatten(1).sum(1) for x, r in zip(own[::2], own[1::2], strict=True)]
            values[name] = torch.stack(terms).sum(0)
            start += len(own)
        return values

    def norm(self) -> float:
        """The exact norm of record 0's gradient."""
        exact = Case(self.networks, {name: [(x[:1], r[:1]) for x, r in uses] for name, uses in self.pairs.items()})
        exact = exact.to(torch.float64)
        values = exact.losses(exact.networks, *exact.records)
        parts = [
            torch.autograd.grad(values[name].sum(), list(network.parameters()))
            for name, network in exact.networks.items()
        ]
        return float(torch.cat([part.flatten() for own in parts for part in own]).norm())


# Records whose terms cancel


def _normal(random: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def cancelling(places: int, channels: int, left: float, random: torch.Generator) -> torch.Tensor:
    """[channels,places] that sum up to `left` of what their magnitudes do: pairs of opposite numbers, and a rest."""
    halves = _normal(random, channels, places // 2)
    rest = left * 2 * halves.abs().sum(1) * _normal(random, channels)
    values = torch.stack([halves, -halves], 2).flatten(1)
    values[:, 0] += rest
    return values[:, torch.randperm(places, generator=random)]


def _beside(worst: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """[B,...]: the worst record, and ordinary ones."""
    return torch.cat([worst[None], _normal(random, ORDINARY, *worst.shape)])


def _convolution(layer: nn.Conv2d, size: int, left: float, random: torch.Generator) -> Case:
    """An image of one color, and gradients of the output that cancel."""
    with torch.no_grad():
        channels, side = layer.out_channels, layer(torch.zeros(1, layer.in_channels, size, size)).shape[2]
    flat = _normal(random, layer.in_channels, 1, 1).expand(-1, size, size)
    gradients = cancelling(side**2 // 2 * 2, channels, left, random)
    gradients = nn.functional.pad(gradients, (0, side**2 % 2)).unflatten(1, (side, side))
    return Case({"net": layer}, {"net": [(_beside(flat, random), _beside(gradients, random))]})


def _transposed(layer: nn.ConvTranspose2d, size: int, left: float, random: torch.Generator) -> Case:
    """The same with the parts of images and gradients exchanged."""
    with torch.no_grad():
        side = layer(torch.zeros(1, layer.in_channels, size, size)).shape[2]
    images = cancelling(size**2, layer.in_channels, left, random).unflatten(1, (size, size))
    flat = _normal(random, layer.out_channels, 1, 1).expand(-1, side, side)
    return Case({"net": layer}, {"net": [(_beside(images, random), _beside(flat, random))]})


def _linear(layer: nn.Linear, places: int, left: float, random: torch.Generator, name: str = "net") -> Case:
    """The same vector at all places."""
    x = _normal(random, layer.in_features).expand(places, -1)
    gradients = cancelling(places, layer.out_features, left, random).T
    return Case({name: layer}, {name: [(_beside(x, random), _beside(gradients, random))]})


def _two_uses(left: float, random: torch.Generator) -> Case:
    """What the first use adds, the second takes away."""
    x, r = _normal(random, 8, 128), _normal(random, 8, 128)
    rest = left * _normal(random, 8, 128)
    pairs = [(_beside(x, random), _beside(one, random)) for one in (r, rest - r)]
    return Case({"net": nn.Linear(128, 128)}, {"net": pairs})


def _three_networks(left: float, random: torch.Generator) -> Case:
    parts = [_linear(nn.Linear(128, 128, bias=False), 16, left, random, name) for name in ("one", "two", "three")]
    networks = {name: network for part in parts for name, network in part.networks.items()}
    return Case(networks, {name: uses for part in parts for name, uses in part.pairs.items()})


def _extremes(left: float, random: torch.Generator) -> Case:
    """Inputs whose squares are 0 in float32, gradients whose squares are near its largest number."""
    x, r = _normal(random, 1, 128), _normal(random, 1, 128)
    network = nn.Linear(128, 128, bias=False)
    return Case({"net": network}, {"net": [(_beside(1e-24 * x, random), _beside(1e17 * r, random))]})


CASES: dict[str, Callable[[float, torch.Generator], Case]] = {
    "convolution, strided": lambda left, random: _convolution(nn.Conv2d(32, 64, 4, 2, bias=False), 10, left, random),
    "convolution, dilated": lambda left, random: _convolution(nn.Conv2d(32, 64, 4, 3, dilation=2), 16, left, random),
    "convolution, grouped": lambda left, random: _convolution(
        nn.Conv2d(64, 128, 4, 2, groups=2, bias=False), 10, left, random
    ),
    "convolution, few weights": lambda left, random: _convolution(nn.Conv2d(1, 8, 4, 2, bias=False), 30, left, random),
    "convolution, weight norm": lambda left, random: _convolution(
        weight_norm(nn.Conv2d(32, 64, 4, 2, bias=False)), 10, left, random
    ),
    "transposed convolution": lambda left, random: _transposed(
        nn.ConvTranspose2d(64, 32, 4, 2, bias=False), 4, left, random
    ),
    "linear, 16 places": lambda left, random: _linear(nn.Linear(128, 128, bias=False), 16, left, random),
    "linear, with a bias": lambda left, random: _linear(nn.Linear(128, 128), 16, left, random),
    "linear, used twice": _two_uses,
    "three networks": _three_networks,
    "underflow": _extremes,
}
"""By name: a case from what is left of its terms, and random numbers."""


# Rules


def plain_norms(tape: Tape) -> torch.Tensor:
    """[B] by Gram products, sqrt(max(G, 0)), in the precision of the tape; by the gradient itself under weight norm."""
    squares = [rows.square().sum(1) for rows in tape.rows.values()]
    for key, uses in tape.uses.items():
        pairs = [use.factors(tape.weights[key], slice(None)) for use in uses]
        a, b = (torch.cat(parts, -1) for parts in zip(*pairs, strict=True))
        if key in tape.derived:
            squares.append(tape.derived[key].squares((b @ a.mT).reshape(-1, *tape.weights[key].shape))[1])
        else:
            squares.append(((a.mT @ a) * (b.mT @ b)).sum((1, 2, 3)))
    return torch.stack(squares).sum(0).clamp_min(0).sqrt()


def plain_sums(case: Case, clip: float) -> list[torch.Tensor]:
    """Sums of gradients clipped by the plain rule."""
    tape, _ = record(case.networks, case.losses, case.records)
    with torch.no_grad():
        norms = plain_norms(tape)
        sums = tape.weighted_sums((clip / norms.clamp_min(torch.finfo(norms.dtype).tiny)).clamp_max(1))
    return list(sums.values())


def our_sums(case: Case, clip: float) -> list[torch.Tensor]:
    """Sums of gradients clipped by ours."""
    sums, _ = clipped_sums(case.networks, case.losses, case.records, clip)
    return [part for own in sums.values() for part in own]


def moved(sums: Callable[[Case, float], list[torch.Tensor]], case: Case, clip: float, row: int = 0) -> float:
    """How far a record moves the sum, in units of C."""
    parts = zip(sums(case, clip), sums(case.without(row), clip), strict=True)
    return float(torch.cat([(one.double() - other.double()).flatten() for one, other in parts]).norm()) / clip


def norms(case: Case) -> tuple[float, float]:
    """Of record 0: as the plain rule computes it, and our bound."""
    tape, _ = record(case.networks, case.losses, case.records)
    units = Units.of(None, len(case.records[0]), torch.device("cpu"))
    with torch.no_grad():
        return float(plain_norms(tape)[0]), float(norm_bounds(tape, units)[0])


def row(name: str, dtype: torch.dtype, draws: int, failures: list[str]) -> list[str]:
    """A row of the table; adds to `failures` if too much passes ours."""
    shown: tuple[str, ...] = ()
    plain, ours = -1.0, 0.0
    for draw in range(draws):
        case = CASES[name](LEFT[dtype], Streams("clip", name, draw).torch("case")).to(dtype)
        norm = case.norm()
        passed = moved(plain_sums, case, SHARE * norm)
        ours = max(ours, moved(our_sums, case, SHARE * norm))
        if passed > plain:
            plain, shown = passed, (f"{norm:.2g}", *(f"{computed:.2g}" for computed in norms(case)))
    precision = str(dtype).removeprefix("torch.")
    if not ours <= BOUND:
        failures.append(f"{name}, {precision}: {ours:.6f} C passes")
    exact, computed, bound = shown
    return [name, precision, exact, computed, f"{plain:.2g} C", bound, f"{ours:.2g} C"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks clip", description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=10, help="of each case")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    failures: list[str] = []
    table(
        "What passes a clip at C, a hundredth of the record's norm",
        ["case", "precision", "norm", "plain rule's norm", "passes it", "our bound", "passes ours"],
        (row(name, dtype, options.draws, failures) for name in CASES for dtype in LEFT),
    )
    print("\n" + ("\n".join(failures) or f"no record moves our sums by more than {BOUND} C"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
