"""Sums of clipped per-record gradients by book-keeping (Bu et al. 2022, 2023; arXiv 2206.07136, 2210.00038).

A forward and a backward pass as without privacy, less the weight gradients: in their place a tape keeps what each layer
was given and the gradient of what it gave. From these come the norm of each record's gradient, and then, in one call a
layer, the sum of all records' gradients weighted by their clip factors. No record's gradient is kept, and of a large
layer none is ever formed.

Every layer with weights is a product, linear in its weight: y = f(x, w), record by record. Its backward pass in x is
one too, with the same weight, so losses that hold a gradient themselves, as a gradient penalty does, need nothing more:
their second backward pass meets products again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.func import vjp, vmap
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mia_core.targets import RecordLosses

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.GroupNorm)
"""Modules whose parameters are known here, as they are or under weight norm."""

CHUNK = 2**18
"""Norms are taken of so many records at a time that what is unfolded for it has about so many numbers: as many as a
CPU's cache holds. On a GPU 64 times as many, for fewer launches."""


def clipped_sums(
    networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...], clip: float
) -> tuple[dict[str, list[torch.Tensor]], dict[str, torch.Tensor]]:
    """Sums over records of their gradients, each scaled to norm at most `clip`, and the losses [B], by network.

    A sum has one tensor per trainable parameter, in order. A record's norm is over all parameters of all networks that
    learn from it together, so that removing one record moves all sums together by at most `clip`. B may be 0. Raises
    ValueError where a parameter is used in a way not known here, or a layer is not given one row a record.
    """
    owned = {name: [p for p in network.parameters() if p.requires_grad] for name, network in networks.items()}
    if not len(records[0]):
        with torch.no_grad():
            none = losses(networks, *records)
        return {name: [torch.zeros_like(p) for p in owned[name]] for name in none if name in networks}, none
    tape = Tape([p for parameters in owned.values() for p in parameters], len(records[0]))
    with tape:
        values = losses(networks, *records)
    learning = [name for name in values if name in networks]
    for name in learning:
        with tape.recording(owned[name]):
            keep = name != learning[-1]
            past = torch.autograd.grad(values[name].sum(), owned[name], retain_graph=keep, allow_unused=True)
        if any(gradient is not None for gradient in past):
            raise ValueError(f"clipping: the {name} uses a parameter in a way whose gradient is not known")
    with torch.no_grad():
        norms = tape.squared_norms().sqrt()
        factors = (clip / norms.clamp_min(torch.finfo(norms.dtype).tiny)).clamp_max(1.0)
        sums = tape.weighted_sums(factors)
    return {name: [sums.get(id(p), torch.zeros_like(p)) for p in owned[name]] for name in learning}, {
        name: value.detach() for name, value in values.items()
    }


# Products: y = f(x, w), and the gradient of w for each record from x and dy


@dataclass(frozen=True)
class Convolution:
    """A convolution; `transposed` to images of `size`, what it is backwards, and the layer of that name.

    `wide` is x and `narrow` dy, transposed the other way around: the weight's gradient is the same function of both.
    """

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    transposed: bool = False
    size: tuple[int, ...] = ()

    def apply(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """y."""
        if not self.transposed:
            return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        geometry = zip(self.size, x.shape[2:], weight.shape[2:], self.stride, self.padding, self.dilation, strict=True)
        extra = [
            size - ((length - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1)
            for size, length, kernel, stride, padding, dilation in geometry
        ]
        return F.conv_transpose2d(x, weight, bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def backwards(self, x: torch.Tensor) -> "Convolution":
        """The product that takes dy to dx."""
        return replace(self, transposed=not self.transposed, size=() if self.transposed else tuple(x.shape[2:]))

    def weight_gradient(self, wide: torch.Tensor, narrow: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Summed over records."""
        geometry = (self.stride, self.padding, self.dilation, False, (0, 0), self.groups)
        wanted = (False, True, False)
        return torch.ops.aten.convolution_backward(narrow, wide, weight, None, *geometry, wanted)[1].contiguous()

    def factors(
        self, wide: torch.Tensor, narrow: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """a [B,G,P,T] and b [B,G,D,T]: a record's gradient is b a^T in each of G groups; T places."""
        columns = F.unfold(wide, weight.shape[2:], self.dilation, self.padding, self.stride)
        return columns.unflatten(1, (self.groups, -1)), narrow.flatten(2).unflatten(1, (self.groups, -1))

    def bias_rows(self, dy: torch.Tensor) -> torch.Tensor:
        """Each record's gradient [B,C] of the bias."""
        return dy.sum((2, 3))


@dataclass(frozen=True)
class Linear:
    """y = x w^T on the last dimension; `transposed` is what it is backwards. Shapes and names as in a convolution."""

    transposed: bool = False

    def apply(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """y."""
        return F.linear(x, weight.T if self.transposed else weight, bias)

    def backwards(self, x: torch.Tensor) -> "Linear":
        """The product that takes dy to dx."""
        return Linear(not self.transposed)

    def weight_gradient(self, wide: torch.Tensor, narrow: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Summed over records."""
        return narrow.flatten(0, -2).T @ wide.flatten(0, -2)

    def factors(
        self, wide: torch.Tensor, narrow: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One group; T dimensions stand between the first and the last."""
        a, b = (part.reshape(len(part), 1, -1, part.shape[-1]).mT for part in (wide, narrow))
        return a, b

    def bias_rows(self, dy: torch.Tensor) -> torch.Tensor:
        """Each record's gradient [B,D] of the bias."""
        return dy.reshape(len(dy), -1, dy.shape[-1]).sum(1)


@dataclass(frozen=True)
class Scale:
    """y = x w + b channel by channel, as after a norm; backwards it is the same."""

    def apply(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """y."""
        shape = (-1, *(1,) * (x.ndim - 2))
        scaled = x * weight.view(shape)
        return scaled if bias is None else scaled + bias.view(shape)

    def backwards(self, x: torch.Tensor) -> "Scale":
        """The product that takes dy to dx."""
        return self

    def rows(self, x: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        """Each record's gradient [B,C]."""
        return self.bias_rows(x * dy)

    def bias_rows(self, dy: torch.Tensor) -> torch.Tensor:
        """Each record's gradient [B,C] of the bias."""
        return dy.flatten(2).sum(2) if dy.ndim > 2 else dy


Product = Convolution | Linear | Scale


class _Taped(torch.autograd.Function):
    """A product whose backward pass tells the tape instead of computing gradients of weights."""

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
class _Use:
    """One use of a large weight in a backward pass."""

    product: Convolution | Linear
    wide: torch.Tensor
    narrow: torch.Tensor

    @property
    def places(self) -> int:
        """How many outer products a record's gradient is the sum of, in each group."""
        channels = -1 if isinstance(self.product, Linear) else 1
        return self.narrow[0].numel() // self.narrow.shape[channels]

    def factors(self, weight: torch.Tensor, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        return self.product.factors(self.wide[part], self.narrow[part], weight)

    def weighted_sum(self, weight: torch.Tensor, factors_B: torch.Tensor) -> torch.Tensor:
        wide, narrow = self.wide, self.narrow
        if wide[0].numel() < narrow[0].numel():
            wide = wide * factors_B.view(-1, *(1,) * (wide.ndim - 1))
        else:
            narrow = narrow * factors_B.view(-1, *(1,) * (narrow.ndim - 1))
        return self.product.weight_gradient(wide, narrow, weight)


@dataclass(frozen=True)
class _Derived:
    """A weight that is a function of parameters, as under weight norm."""

    weight: torch.Tensor
    parameters: tuple[torch.Tensor, ...]
    function: Callable[..., torch.Tensor]

    def pull(self, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The parameters' gradients from the weight's."""
        return vjp(self.function, *(p.detach() for p in self.parameters))[1](gradient)


class Tape(TorchFunctionMode):
    """While it is entered, products with the weights it is given go through `_Taped`."""

    def __init__(self, weights: Sequence[torch.Tensor], rows: int) -> None:
        super().__init__()
        self._weights = {id(weight): weight for weight in weights}
        self._count = rows
        self._wanted: frozenset[int] = frozenset()
        self._rows: dict[int, torch.Tensor] = {}
        self._uses: dict[int, list[_Use]] = defaultdict(list)
        self._derived: dict[int, _Derived] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Products by their own rule, anything else as it is, unless it uses a weight."""
        kwargs = kwargs or {}
        if func in _RULES:
            return _RULES[func](self, *args, **kwargs)
        result = func(*args, **kwargs)
        used = any(id(value) in self._weights for value in (*args, *kwargs.values()))
        if used and isinstance(result, torch.Tensor) and result.requires_grad:
            raise ValueError(f"clipping: the gradient of a single record is not known for {func.__name__}")
        return result

    def product(
        self, product: Product, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """y."""
        if id(weight) in self._weights or id(bias) in self._weights:
            return _Taped.apply(self, product, (id(weight), id(bias)), x, weight, bias)
        return product.apply(x, weight, bias)

    def derive(self, function: Callable[..., torch.Tensor], *parameters: torch.Tensor) -> torch.Tensor:
        """A weight computed from parameters, once."""
        if not any(id(p) in self._weights for p in parameters):
            return function(*parameters)
        for derived in self._derived.values():
            if all(one is other for one, other in zip(derived.parameters, parameters, strict=True)):
                return derived.weight
        weight = function(*parameters)
        self._weights[id(weight)] = weight
        self._derived[id(weight)] = _Derived(weight, parameters, function)
        return weight

    @contextmanager
    def recording(self, parameters: Sequence[torch.Tensor]) -> Iterator[None]:
        """What backward passes tell of these parameters, and of weights derived from them, is kept."""
        own = {id(p) for p in parameters}
        own |= {key for key, derived in self._derived.items() if own & {id(p) for p in derived.parameters}}
        self._wanted = frozenset(own)
        yield
        self._wanted = frozenset()

    def note(self, product: Product, keys: tuple[int, int], x: torch.Tensor, dy: torch.Tensor) -> None:
        """From a backward pass."""
        weight, bias = keys
        if (weight in self._wanted or bias in self._wanted) and len(dy) != self._count:
            raise ValueError(f"clipping: a layer was given {len(dy)} rows for {self._count} records")
        if bias in self._wanted:
            self._add_rows(bias, product.bias_rows(dy))
        if weight not in self._wanted:
            return
        if isinstance(product, Scale):
            self._add_rows(weight, product.rows(x, dy))
        else:
            wide, narrow = (dy, x) if product.transposed else (x, dy)
            self._uses[weight].append(_Use(product, wide.detach(), narrow.detach()))

    def _add_rows(self, key: int, rows: torch.Tensor) -> None:
        self._rows[key] = self._rows[key] + rows if key in self._rows else rows

    def squared_norms(self) -> torch.Tensor:
        """[B], over all that was recorded."""
        own = [*self._rows, *(key for key in self._uses if key not in self._derived)]
        own += [id(p) for derived in self._derived.values() for p in derived.parameters]
        if len(set(own)) < len(own):
            raise ValueError("clipping: a parameter is used in two ways at once")
        parts = [rows.square().sum(1) for rows in self._rows.values()]
        parts += [self._squared_norms(self._weights[key], uses) for key, uses in self._uses.items()]
        return torch.stack(parts).sum(0)

    def _squared_norms(self, weight: torch.Tensor, uses: Sequence[_Use]) -> torch.Tensor:
        """Several uses are one with all their places: b_1 a_1^T + b_2 a_2^T = [b_1 b_2] [a_1 a_2]^T."""
        derived = self._derived.get(id(weight))
        places = sum(use.places for use in uses)
        each = max(places * weight[0].numel(), weight.numel() if derived else 0)
        chunk = max(1, CHUNK * (64 if weight.is_cuda else 1) // each)
        norms = []
        for start in range(0, self._count, chunk):
            pairs = [use.factors(weight, slice(start, start + chunk)) for use in uses]
            a, b = (torch.cat(parts, -1) if len(parts) > 1 else parts[0] for parts in zip(*pairs, strict=True))
            if derived:
                rows = (b @ a.mT).reshape(-1, *weight.shape)
                pulled = torch.cat([part.flatten(1) for part in vmap(derived.pull)(rows)], 1)
                norms.append(pulled.square().sum(1))
            elif places * (a.shape[2] + b.shape[2]) < a.shape[2] * b.shape[2]:
                norms.append(((a.mT @ a) * (b.mT @ b)).sum((1, 2, 3)).clamp_min(0))
            else:
                norms.append((b @ a.mT).square().sum((1, 2, 3)))
        return torch.cat(norms)

    def weighted_sums(self, factors_B: torch.Tensor) -> dict[int, torch.Tensor]:
        """By the id of a parameter: the sum over records of their gradients times their factor. Empties the tape."""
        sums = {key: factors_B @ rows for key, rows in self._rows.items()}
        for key, uses in self._uses.items():
            weight = self._weights[key]
            total = uses.pop().weighted_sum(weight, factors_B)
            while uses:
                total += uses.pop().weighted_sum(weight, factors_B)
            if key in self._derived:
                derived = self._derived[key]
                sums |= {id(p): part for p, part in zip(derived.parameters, derived.pull(total), strict=True)}
            else:
                sums[key] = total
        return sums


# Rules: what functions of torch are products


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
    return tape.derive(partial(torch._weight_norm, dim=dim), v, g)


_RULES: dict[Any, Callable[..., torch.Tensor]] = {
    F.conv2d: _convolution,
    F.conv_transpose2d: _transposed_convolution,
    F.linear: _linear,
    F.group_norm: _group_norm,
    torch._weight_norm: _weight_norm,
}
