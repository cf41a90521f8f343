"""A tape of a backward pass: the input of each layer with weights, and the gradient of its output.

Forward and backward pass are as in ordinary training, but the tape replaces the gradients of weights (Bu et al. 2022,
2023; arXiv 2206.07136, 2210.00038).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mia_core.defenses.products import Convolution, Linear, Product, Scale

PRECISIONS = (torch.float32, torch.float64)
"""Types for which the bound on a record's influence is proven."""


class _Taped(torch.autograd.Function):
    """A product whose backward pass records on the tape instead of computing gradients of weights."""

    @staticmethod
    def forward(
        ctx: Any,
        tape: "Tape",
        product: Product,
        keys: tuple[int, int],
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.tape, ctx.product, ctx.keys = tape, product, keys
        ctx.save_for_backward(x, weight)
        return product.apply(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        ctx.tape.note(ctx.product, ctx.keys, x, dy)
        dx = None
        if ctx.needs_input_grad[3]:
            dx = _Taped.apply(ctx.tape, ctx.product.backwards(x), (ctx.keys[0], id(None)), dy, weight, None)
        return None, None, None, dx, None, None


@dataclass(frozen=True)
class Use:
    """One use of a large weight in a backward pass; `wide` and `narrow` [B,...] as in `Convolution`."""

    product: Convolution | Linear
    wide: torch.Tensor
    narrow: torch.Tensor

    @property
    def places(self) -> int:
        """Number of outer products in a row's gradient, per group."""
        channels = -1 if isinstance(self.product, Linear) else 1
        return self.narrow[0].numel() // self.narrow.shape[channels]

    def factors(self, weight: torch.Tensor, rows: torch.Tensor | slice) -> tuple[torch.Tensor, torch.Tensor]:
        """a and b of these rows, see `Convolution.factors`."""
        return self.product.factors(self.wide[rows], self.narrow[rows], weight)

    def weighted_sum(
        self, weight: torch.Tensor, factors_B: torch.Tensor, left_out_B: torch.Tensor | None
    ) -> torch.Tensor:
        """The sum of the rows' gradients times their factors; rows that are left out are not read."""
        wide, narrow = _without(self.wide, left_out_B), _without(self.narrow, left_out_B)
        if wide[0].numel() < narrow[0].numel():
            wide = wide * _by_row(factors_B, wide)
        else:
            narrow = narrow * _by_row(factors_B, narrow)
        return self.product.weight_gradient(wide, narrow, weight)


def _by_row(values_B: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values_B.view(-1, *(1,) * (like.ndim - 1))


def _without(values: torch.Tensor, left_out_B: torch.Tensor | None) -> torch.Tensor:
    """The values with zeros in rows that are left out, where NaN times 0 would still be NaN."""
    return values if left_out_B is None else values.masked_fill(_by_row(left_out_B, values), 0)


@dataclass(frozen=True)
class WeightNormed:
    """A weight w = g v / |v| under weight norm (Salimans & Kingma 2016; arXiv 1602.07868).

    |v| is over all dimensions but `dim`, or over all if `dim` is -1. parameters: the ids of v and g as parameters.
    """

    weight: torch.Tensor
    v: torch.Tensor
    g: torch.Tensor
    dim: int
    parameters: tuple[int, int]

    def stretch(self) -> torch.Tensor:
        """Maximal ratio between the norm of the gradient of v and g together and that of the weight's gradient."""
        return (self.g / self._lengths()).abs().amax().clamp_min(1)

    def pulled(self, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of v and g from the weight's."""
        lengths = self._lengths()
        direction = self.v / lengths
        along = self._sum(gradient * direction)
        return self.g / lengths * (gradient - along * direction), along.view_as(self.g)

    def squares(self, gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Squared norms [n] of n gradients [n,*] of the weight, and of the gradients of v and g together."""
        lengths = self._lengths()
        along = self._sum(gradients * (self.v / lengths)).square()
        whole = self._sum(gradients.square())
        pulled = (self.g / lengths).square() * (whole - along) + along
        return whole.flatten(1).sum(1), pulled.flatten(1).sum(1)

    def _lengths(self) -> torch.Tensor:
        return self._sum(self.v.square()).sqrt()

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sums over the last dimensions, one by one: shorter sums have smaller errors."""
        first = values.ndim - self.v.ndim
        for dim in range(self.v.ndim):
            if dim != self.dim:
                values = values.sum(first + dim, keepdim=True)
        return values


class Tape(TorchFunctionMode):
    """While it is active, products with the given weights go through `_Taped`.

    weights: all known ones, by id. rows: gradients [B,C] of biases and scales, by id. uses: of other weights, by id.
    derived: the origin of weights under weight norm, by the weight's id.
    """

    def __init__(self, weights: Sequence[torch.Tensor], rows: int) -> None:
        super().__init__()
        for weight in weights:
            _check(weight.dtype)
        self.weights = {id(weight): weight for weight in weights}
        self.rows: dict[int, torch.Tensor] = {}
        self.uses: dict[int, list[Use]] = defaultdict(list)
        self.derived: dict[int, WeightNormed] = {}
        self._count = rows
        self._wanted: frozenset[int] = frozenset()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run products by their rule and other functions unchanged; ValueError if these use a weight."""
        kwargs = kwargs or {}
        if func in _RULES:
            return _RULES[func](self, *args, **kwargs)
        result = func(*args, **kwargs)
        used = any(id(value) in self.weights for value in (*args, *kwargs.values()))
        if used and isinstance(result, torch.Tensor) and result.requires_grad:
            raise ValueError(f"clipping: the gradient of a single record is not known for {func.__name__}")
        return result

    def product(
        self, product: Product, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """The product's output, recorded if it uses a known weight or bias."""
        if id(weight) in self.weights or id(bias) in self.weights:
            return _Taped.apply(self, product, (id(weight), id(bias)), x, weight, bias)
        return product.apply(x, weight, bias)

    def weight_norm(self, v: torch.Tensor, g: torch.Tensor, dim: int) -> torch.Tensor:
        """The weight from v and g, computed once."""
        if id(v) not in self.weights and id(g) not in self.weights:
            return torch._weight_norm(v, g, dim)
        for derived in self.derived.values():
            if derived.parameters == (id(v), id(g)):
                return derived.weight
        weight = torch._weight_norm(v, g, dim)
        self.weights[id(weight)] = weight
        self.derived[id(weight)] = WeightNormed(weight, v.detach(), g.detach(), dim, (id(v), id(g)))
        return weight

    @contextmanager
    def recording(self, parameters: Sequence[torch.Tensor]) -> Iterator[None]:
        """Keep what backward passes record about these parameters, and about weights derived from them."""
        own = {id(p) for p in parameters}
        own |= {key for key, derived in self.derived.items() if own & set(derived.parameters)}
        self._wanted = frozenset(own)
        yield
        self._wanted = frozenset()

    def note(self, product: Product, keys: tuple[int, int], x: torch.Tensor, dy: torch.Tensor) -> None:
        """Record a product's backward pass. ValueError for a wrong number of rows, or a precision below float32."""
        weight, bias = keys
        if weight in self._wanted or bias in self._wanted:
            _check(x.dtype)
            _check(dy.dtype)
            if len(dy) != self._count:
                raise ValueError(f"clipping: a layer was given {len(dy)} rows for {self._count} records")
        if bias in self._wanted:
            self._add_rows(bias, product.bias_rows(dy))
        if weight not in self._wanted:
            return
        if isinstance(product, Scale):
            self._add_rows(weight, product.rows(x, dy))
        else:
            wide, narrow = (dy, x) if product.transposed else (x, dy)
            self.uses[weight].append(Use(product, wide.detach(), narrow.detach()))

    def _add_rows(self, key: int, rows: torch.Tensor) -> None:
        self.rows[key] = self.rows[key] + rows if key in self.rows else rows

    def check_roles(self) -> None:
        """ValueError if a parameter has two gradients on the tape, each of which would be clipped separately."""
        own = [*self.rows, *(key for key in self.uses if key not in self.derived)]
        own += [key for derived in self.derived.values() for key in derived.parameters]
        if len(set(own)) < len(own):
            raise ValueError("clipping: a parameter is used in two ways at once")

    def weighted_sums(self, factors_B: torch.Tensor) -> dict[int, torch.Tensor]:
        """By the id of a parameter: the sum over rows of their gradients times their factors. Empties the tape.

        Rows with factor 0 contribute nothing, even if they contain NaN. On a CPU, where reading factors is free, rows
        are left out only if there are any, since that takes a pass over everything on the tape.
        """
        left_out = factors_B == 0
        omitted = left_out if left_out.is_cuda or bool(left_out.any()) else None
        sums = {key: factors_B @ _without(rows, omitted) for key, rows in self.rows.items()}
        for key, uses in self.uses.items():
            weight = self.weights[key]
            total = uses.pop().weighted_sum(weight, factors_B, omitted)
            while uses:
                total += uses.pop().weighted_sum(weight, factors_B, omitted)
            if key in self.derived:
                derived = self.derived[key]
                sums |= dict(zip(derived.parameters, derived.pulled(total), strict=True))
            else:
                sums[key] = total
        return sums


def _check(dtype: torch.dtype) -> None:
    if dtype not in PRECISIONS:
        raise ValueError(
            f"clipping: a layer computes in {dtype}, for which the bound on a record's influence is not shown"
        )


# Rules: the torch functions that are products


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    one, other = (value, value) if isinstance(value, int) else value
    return one, other


def _convolution(
    tape: Tape,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    dilation = _pair(dilation)
    if padding == "same":
        room = [step * (kernel - 1) for step, kernel in zip(dilation, weight.shape[2:], strict=True)]
        if any(length % 2 for length in room):
            raise ValueError("clipping: padding 'same' of an even kernel is not known")
        padding = [length // 2 for length in room]
    padding = 0 if padding == "valid" else padding
    return tape.product(Convolution(_pair(stride), _pair(padding), dilation, groups), input, weight, bias)


def _transposed_convolution(
    tape: Tape,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> torch.Tensor:
    stride, padding, dilation, extra = map(_pair, (stride, padding, dilation, output_padding))
    geometry = zip(input.shape[2:], stride, padding, dilation, weight.shape[2:], extra, strict=True)
    size = tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, s, p, d, k, e in geometry)
    return tape.product(Convolution(stride, padding, dilation, groups, True, size), input, weight, bias)


def _linear(tape: Tape, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return tape.product(Linear(), input, weight, bias)


def _group_norm(
    tape: Tape,
    input: torch.Tensor,
    num_groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:
    if weight is None:
        return F.group_norm(input, num_groups, None, bias, eps)
    return tape.product(Scale(), F.group_norm(input, num_groups, None, None, eps), weight, bias)


def _weight_norm(tape: Tape, v: torch.Tensor, g: torch.Tensor, dim: int = 0) -> torch.Tensor:
    return tape.weight_norm(v, g, dim)


_RULES: dict[Any, Callable[..., torch.Tensor]] = {
    F.conv2d: _convolution,
    F.conv_transpose2d: _transposed_convolution,
    F.linear: _linear,
    F.group_norm: _group_norm,
    torch._weight_norm: _weight_norm,
}
