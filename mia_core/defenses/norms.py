"""Upper bounds of the norms of privacy units' gradients, from a tape, in the precision of training.

A unit's gradient of a weight is g = sum_t b_t a_t^T over T places (of all its rows and all uses of the weight). Its
squared norm is computed by Gram products, sum_st (a_s . a_t)(b_s . b_t), or from g, whichever is less work; the
released sum is computed in a third way. If terms cancel, rounding errors may far exceed a rounding of |g|: the Gram
products of a gradient a thousand times smaller than its terms are noise, or negative. But errors are bounded: a sum of
n products, in any order, has an error of at most gamma_n = n u / (1 - n u) times the sum of the terms' magnitudes, u
the unit round-off (Higham 2002, section 3.1). With S = sum_t |a_t| |b_t|, a in R^P, b in R^D, G groups:

- the square G by Gram products has an error of at most gamma_(2T+P+D+G+1) S^2, so |g|^2 <= |G| + gamma S^2: this error
  is in the square, and a bound of it that was added to the norm would be far too small;
- g, if it is formed, has an error of at most gamma_T S, and its square a relative error of gamma_(P+D+G+1);
- a unit's part of the released sum has an error of at most f gamma_(2T+1) S, f its factor.

So this part has norm at most C if f = C / N, where N is the root of the first or second square plus gamma_(3T+4) S.
Under weight norm the gradient of the weight is formed and mapped to v and g, which makes its norm at most max(1, g /
|v|) times as large; the errors of the sums in between, over one dimension of the weight at a time, are added to both.
Squares, and the squared error terms ("rooms"), are summed over layers before taking roots (triangle inequality).
Products may underflow to 0; a bound of what this hides is added, too. An overflow makes N infinite or NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from mia_core.defenses.tape import Tape, Use, WeightNormed
from mia_core.defenses.units import Units

CHUNK = 2**18
"""Numbers that are unfolded at once to compute norms: as many as a CPU's cache holds.

On a GPU, 64 times as many, for fewer launches.
"""

SMALLEST = 2.0**30
"""Products that underflow to 0 reduce a square by at most this many times the smallest normal number."""


def gamma(terms: int, dtype: torch.dtype) -> float:
    """Error bound of a computed sum of so many products, relative to the sum of their magnitudes."""
    error = terms * torch.finfo(dtype).eps / 2
    assert error < 1, f"a sum of {terms} products in {dtype}"
    return error / (1 - error)


def norm_bounds(tape: Tape, units: Units, chunk: int = CHUNK) -> torch.Tensor:
    """N [U], of each unit's gradient over everything recorded, in the order of `units`; NaN or infinite on overflow.

    A unit's bound does not depend on other units.
    """
    tape.check_roles()
    parts = [_of_rows(list(tape.rows.values()), units)] if tape.rows else []
    parts += [_of_uses(tape, key, units, chunk) for key in tape.uses]
    squares, rooms = torch.stack(parts).sum(0)
    hidden = SMALLEST * torch.finfo(squares.dtype).tiny
    return ((squares + hidden).sqrt() + rooms.sqrt()) * (1 + gamma(len(parts) + 16, squares.dtype))


def _of_rows(rows: Sequence[torch.Tensor], units: Units) -> torch.Tensor:
    """Squares and squared rooms [2,U] of biases and scales, whose gradients by row are on the tape."""
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

    Several uses are treated as one with all their places, and so are several rows: b_1 a_1^T + b_2 a_2^T = [b_1 b_2]
    [a_1 a_2]^T.
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
    """a [n,G,P,T] and b [n,G,D,T] of n units of `size` rows each."""
    pairs = [use.factors(weight, rows) for use in uses]
    joined = []
    for parts in zip(*pairs, strict=True):
        part = torch.cat(parts, -1) if len(parts) > 1 else parts[0]
        joined.append(part if size == 1 else part.unflatten(0, (-1, size)).movedim(1, 3).flatten(3))
    a, b = joined
    return a, b


class _Way(Protocol):
    """A way to compute the square of sum_t b_t a_t^T from a [n,G,P,T] and b [n,G,D,T], and its error bound."""

    def measure(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """|a_t|^2 and |b_t|^2 [n,G,T], and squares."""

    def bound(self, *measured: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The square and the squared room, [n] each."""


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

    The absolute value of a square is used: a negative one is within the margin, and -infinity becomes infinity.
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
    """By forming the gradient."""

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
    """By the gradients of v and g under weight norm, computed from the weight's gradient."""

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

    A vector whose squares all underflow may still have this length, and be multiplied by a much longer one, so it is
    assumed to have it. The length is larger if S only counts times `margin`, since a Gram product of such vectors is 0.
    """
    hidden = torch.finfo(squares_a.dtype).tiny / margin
    return ((squares_a + inside * hidden).sqrt() * (squares_b + outside * hidden).sqrt()).sum(2)
