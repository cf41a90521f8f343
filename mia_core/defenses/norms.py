"""Upper bounds of the norms of privacy units' gradients, computed from a tape in the precision that trains.

A unit's gradient of a weight is g = sum_t b_t a_t^T over T places (of all of its rows, and of all uses of the weight).
Its squared norm is computed by Gram products, sum_st (a_s . a_t)(b_s . b_t), or from g, whatever is less work; and the
sum that is released is computed in a third way. Where terms cancel, each is off by far more than a rounding of |g|: the
Gram products of a gradient a thousand times smaller than its terms are noise, or negative. By how much is known: a sum
of n products, in any order, is off by at most gamma_n = n u / (1 - n u) times the sum of the terms' magnitudes, u the
unit round-off (Higham 2002, section 3.1). With S = sum_t |a_t| |b_t|, a in R^P, b in R^D, G groups:

- the square G by Gram products is off by at most gamma_(2T+P+D+G+1) S^2, so |g|^2 <= |G| + gamma S^2: the error is in
  the square, and a bound of it that was added to the norm would be far too small;
- g, where it is formed, is off by at most gamma_T S, and its square by gamma_(P+D+G+1) of itself;
- what a unit adds to the released sum is off by at most f gamma_(2T+1) S, f its factor.

So what it adds is at most C long if f = C / N, where N is the root of the first or second square plus gamma_(3T+4) S.
Under weight norm the gradient of the weight is formed and pulled to v and g, which makes it at most max(1, g / |v|)
times as long; what the sums in between are off by, over one dimension of the weight at a time, is added to both.
Squares and rooms are added up over layers before their roots are (triangle inequality). Products of the smallest
numbers become 0, and what that can hide is added too. An overflow makes N infinite or NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from mia_core.defenses.tape import Tape, Use, WeightNormed
from mia_core.defenses.units import Units

CHUNK = 2**18
"""Norms are taken of so many units at a time that what is unfolded for it has about so many numbers: as many as a CPU's
cache holds. On a GPU 64 times as many, for fewer launches."""

SMALLEST = 2.0**30
"""Products that become 0 hide at most so many times the smallest normal number from a square."""


def gamma(terms: int, dtype: torch.dtype) -> float:
    """What a computed sum of so many products is off by, relative to the sum of their magnitudes."""
    error = terms * torch.finfo(dtype).eps / 2
    assert error < 1, f"a sum of {terms} products in {dtype}"
    return error / (1 - error)


def norm_bounds(tape: Tape, units: Units, chunk: int = CHUNK) -> torch.Tensor:
    """N [U] of each unit's gradient over all that was recorded, in the order of `units`; NaN or infinite if that is.

    No unit's bound depends on another unit.
    """
    tape.check_roles()
    parts = [_of_rows(list(tape.rows.values()), units)] if tape.rows else []
    parts += [_of_uses(tape, key, units, chunk) for key in tape.uses]
    squares, rooms = torch.stack(parts).sum(0)
    hidden = SMALLEST * torch.finfo(squares.dtype).tiny
    return ((squares + hidden).sqrt() + rooms.sqrt()) * (1 + gamma(len(parts) + 16, squares.dtype))


def _of_rows(rows: Sequence[torch.Tensor], units: Units) -> torch.Tensor:
    """Squares and squared rooms [2,U] of biases: their gradients by row are computed before, and these are summed."""
    rows_BC = torch.cat(list(rows), 1)
    found = []
    for size, own in units.together:
        each = rows_BC[own].unflatten(0, (-1, size))
        square = each.sum(1).square().sum(1) * (1 + gamma(each.shape[2] + 1, each.dtype))
        sizes = each.square().sum(2).sqrt().sum(1) if size > 1 else square.sqrt()
        found.append(torch.stack([square, (gamma(3 * size + 4, each.dtype) * sizes).square()]) / size**2)
    return torch.cat(found, 1)


def _of_uses(tape: Tape, key: int, units: Units, chunk: int) -> torch.Tensor:
    """Squares and squared rooms [2,U] of a weight.

    Several uses are one with all their places, and so are several rows: b_1 a_1^T + b_2 a_2^T = [b_1 b_2] [a_1 a_2]^T.
    """
    weight, uses, derived = tape.weights[key], tape.uses[key], tape.derived.get(key)
    places = sum(use.places for use in uses)
    numbers = max(places * weight[0].numel(), weight.numel() if derived else 0)
    most_rows = chunk * (64 if weight.is_cuda else 1) // numbers
    found = []
    for size, own in units.together:
        way = _way(weight, derived, uses[0].product.groups, size * places)
        parts = [way.measure(*_factors(uses, weight, rows, size)) for rows in units.cut(size, own, most_rows)]
        found.append(torch.stack(way.bound(*(torch.cat(part) for part in zip(*parts, strict=True)))) / size**2)
    return torch.cat(found, 1)


def _factors(
    uses: Sequence[Use], weight: torch.Tensor, rows: torch.Tensor | slice, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """a [n,G,P,T] and b [n,G,D,T] of n units of `size` rows."""
    pairs = [use.factors(weight, rows) for use in uses]
    joined = []
    for parts in zip(*pairs, strict=True):
        part = torch.cat(parts, -1) if len(parts) > 1 else parts[0]
        joined.append(part if size == 1 else part.unflatten(0, (-1, size)).movedim(1, 3).flatten(3))
    a, b = joined
    return a, b


class _Way(Protocol):
    """A way from a [n,G,P,T] and b [n,G,D,T] to the square of sum_t b_t a_t^T, and what that is off by."""

    def measure(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """|a_t|^2 and |b_t|^2 [n,G,T], and squares."""

    def bound(self, *measured: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The square and the squared room, each [n]."""


def _way(weight: torch.Tensor, derived: WeightNormed | None, groups: int, places: int) -> _Way:
    inside, outside = weight[0].numel(), len(weight) // groups
    if derived:
        terms = 10 * sum(weight.shape) + 16
        return _Normed(
            derived, gamma(terms, weight.dtype), gamma(3 * places + 4 + terms, weight.dtype), inside, outside
        )
    room, around = gamma(3 * places + 4, weight.dtype), inside + outside + groups + 1
    if places * (inside + outside) < inside * outside:
        return _Gram(gamma(2 * places + around, weight.dtype), room, inside, outside)
    return _Formed(gamma(around, weight.dtype), room, inside, outside)


@dataclass(frozen=True)
class _Gram:
    """By Gram products.

    A square counts without its sign: a negative one is within its margin, and -infinity is not finite.
    """

    margin: float
    room: float
    inside: int
    outside: int

    def measure(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gram_a, gram_b = a.mT @ a, b.mT @ b
        square = (gram_a * gram_b).sum(3).sum(2)
        return gram_a.diagonal(dim1=2, dim2=3).clone(), gram_b.diagonal(dim1=2, dim2=3).clone(), square

    def bound(self, *measured: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        squares_a, squares_b, square = measured
        squared_sizes = _sizes(squares_a, squares_b, self.inside, self.outside, self.margin).square()
        return (square.abs() + self.margin * squared_sizes).sum(1), self.room**2 * squared_sizes.sum(1)


@dataclass(frozen=True)
class _Formed:
    """By the gradient itself."""

    margin: float
    room: float
    inside: int
    outside: int

    def measure(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return a.square().sum(2), b.square().sum(2), (b @ a.mT).square().sum(3).sum(2)

    def bound(self, *measured: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        squares_a, squares_b, square = measured
        squared_sizes = _sizes(squares_a, squares_b, self.inside, self.outside).square()
        return (1 + self.margin) * square.sum(1), self.room**2 * squared_sizes.sum(1)


@dataclass(frozen=True)
class _Normed:
    """By the gradients of v and g under weight norm, from that of the weight."""

    derived: WeightNormed
    margin: float
    room: float
    inside: int
    outside: int

    def measure(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gradients = (b @ a.mT).reshape(-1, *self.derived.v.shape)
        return a.square().sum(2), b.square().sum(2), *self.derived.squares(gradients)

    def bound(self, *measured: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        squares_a, squares_b, square, pulled = measured
        stretch = self.derived.stretch().square()
        squared_sizes = _sizes(squares_a, squares_b, self.inside, self.outside).square()
        room = self.room**2 * stretch * squared_sizes.sum(1)
        return pulled.abs() + self.margin * stretch * square, room


def _sizes(
    squares_a: torch.Tensor, squares_b: torch.Tensor, inside: int, outside: int, margin: float = 1.0
) -> torch.Tensor:
    """S [n,G] from |a_t|^2 and |b_t|^2 [n,G,T].

    A vector whose squares are all 0 may still be so long, and meet one that is far longer. So it is taken to be, and
    longer where S only counts by a margin, and a Gram product of such vectors is 0.
    """
    hidden = torch.finfo(squares_a.dtype).tiny / margin
    return ((squares_a + inside * hidden).sqrt() * (squares_b + outside * hidden).sqrt()).sum(2)
