"""The one way to take gradients: of mean losses, each for the network whose name it has.

Shapes: B records, N rows of any kind.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from mia_core.batches import Rows

Networks = Mapping[str, Callable[..., Any]]
"""Networks by their attribute's name in the target, callable like modules."""


class Weighted(NamedTuple):
    """A loss [N] times a number. Networks that share a loss with different weights share its backward pass."""

    weight: float | torch.Tensor
    loss: torch.Tensor


Terms = Mapping[str, torch.Tensor | Weighted]
"""Loss [N] by the name of the network that learns from it; a term with any other name is only reported."""

Losses = Callable[..., Terms]
"""`losses(networks, *tensors) -> terms`: a pure function; row i of a term depends on row i of the tensors only.

The gradient of term `name` goes to the parameters of `networks[name]` only.
"""

RecordLosses = Callable[..., dict[str, torch.Tensor]]
"""`losses(networks, *records) -> {name: [B]}`: `Losses` of real records, one value per record, without weights.

`records` are tensors [B,...]: images and other inputs that belong to each record.
"""


class RecordGradients(Protocol):
    """Adds gradients of real records' losses to `.grad` and returns the losses; a defense may replace it.

    Real records may reach parameters in no other way. Padding rows are left out of the returned losses.
    """

    def __call__(
        self, networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...], rows: Rows
    ) -> dict[str, torch.Tensor]:
        """Backpropagate; see the class. rows: the records and their privacy units."""
        ...


class Mapped:
    """A network with the stacked weights of several trainings, called for one of them inside `torch.func.vmap`."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *inputs: torch.Tensor) -> Any:
        """Call the network."""
        return self.call(*inputs)


def input_gradient(network: Callable[..., Any], x_BCHW: torch.Tensor) -> torch.Tensor:
    """The gradient [B,C,H,W] of a network's outputs [B,...] with respect to its inputs, differentiable."""
    if isinstance(network, Mapped):  # torch.autograd fails inside vmap, and torch.func with `defenses.tape`
        gradient: torch.Tensor = torch.func.grad(lambda x: network(x).sum())(x_BCHW)
        return gradient
    with torch.enable_grad():  # also if the caller needs no gradient of the loss
        x_BCHW = x_BCHW.requires_grad_()
        return torch.autograd.grad(network(x_BCHW).sum(), x_BCHW, create_graph=True)[0]


def mean_gradients(
    networks: Mapping[str, nn.Module],
    losses: Losses,
    records: tuple[torch.Tensor, ...],
    rows: Rows | None = None,
    weight: float = 1.0,
    only: Collection[str] | None = None,
) -> dict[str, torch.Tensor]:
    """The ordinary rule: add each network's gradient of its mean loss, times `weight`. Returns detached losses [N].

    only: names of networks that learn; all by default.
    """
    terms = losses(networks, *records)
    learned = by_loss(terms, networks if only is None else [name for name in networks if name in only])
    for loss, learning in learned:
        weights = [(networks[name], weight * factor) for name, factor in learning]
        add_gradients(loss.mean(), weights, retain_graph=loss is not learned[-1][0])
    return detached(terms)


def by_loss(terms: Terms, networks: Collection[str]) -> list[tuple[torch.Tensor, list[tuple[str, Any]]]]:
    """Each loss that trains a network, with the names of these networks and their weights."""
    losses: dict[int, torch.Tensor] = {}
    learning: dict[int, list[tuple[str, Any]]] = defaultdict(list)
    for name, term in terms.items():
        if name in networks:
            weight, loss = term if isinstance(term, Weighted) else (1.0, term)
            losses[id(loss)] = loss
            learning[id(loss)].append((name, weight))
    return [(losses[key], learning[key]) for key in losses]


def detached(terms: Terms) -> dict[str, torch.Tensor]:
    """Terms without graph, times their weights; with several trainings, each has its weight."""
    return {
        name: (_times_weight(term) if isinstance(term, Weighted) else term).detach() for name, term in terms.items()
    }


def _times_weight(term: Weighted) -> torch.Tensor:
    weight = term.weight
    return (weight[..., None] if isinstance(weight, torch.Tensor) else weight) * term.loss


def add_gradients(
    loss: torch.Tensor, weights: list[tuple[nn.Module, float | torch.Tensor]], retain_graph: bool = False
) -> None:
    """Add the gradient of a scalar loss to `.grad` of these networks only, times each network's weight."""
    owned = [(p, weight) for network, weight in weights for p in network.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, [p for p, _ in owned], retain_graph=retain_graph)
    for (parameter, weight), gradient in zip(owned, gradients, strict=True):
        unweighted = isinstance(weight, float) and weight == 1
        add_gradient(parameter, gradient if unweighted else weight * gradient)


def add_gradient(parameter: nn.Parameter, gradient: torch.Tensor) -> None:
    """Add to `.grad`, in the parameter's memory format.

    torch's fused Adam on a CPU reads the memory of parameter and gradient element by element, and does not notice if
    their memory formats differ.
    """
    if gradient.stride() != parameter.stride():
        gradient = torch.empty_like(parameter).copy_(gradient)
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
