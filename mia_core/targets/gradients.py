"""The one way in which gradients are taken: of mean losses, each for the network it is named after.

Shapes: B records, N rows of any kind.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from mia_core.batches import Rows

Networks = Mapping[str, Callable[..., Any]]
"""Networks by the name of the target's attribute, to be called like modules."""


class Weighted(NamedTuple):
    """A loss [N] times a number. Networks that share a loss, each with a weight of its own, share its backward pass."""

    weight: float | torch.Tensor
    loss: torch.Tensor


Terms = Mapping[str, torch.Tensor | Weighted]
"""A loss [N] by the name of the network that learns from it; a term of another name is only reported."""

Losses = Callable[..., Terms]
"""`losses(networks, *tensors) -> terms`: a function of its arguments alone, each row of a term of its row alone.

The gradient of term `name` reaches the parameters of `networks[name]` and of no other network.
"""

RecordLosses = Callable[..., dict[str, torch.Tensor]]
"""`losses(networks, *records) -> {name: [B]}`: `Losses` of real records, a term a record, without weights.

`records` are tensors [B,...]: images, and whatever else a term needs of its record.
"""


class RecordGradients(Protocol):
    """Adds the gradients of losses over real records to `.grad` and returns the losses; a defense may replace it.

    It is the only way in which real records may reach a parameter. Losses of rows that are no records are left out.
    """

    def __call__(
        self, networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...], rows: Rows
    ) -> dict[str, torch.Tensor]:
        """Backpropagate; see the class. rows: which records these are, and of which privacy units."""
        ...


class Mapped:
    """A network whose weights are of several trainings, called for one of them inside of `torch.func.vmap`."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *inputs: torch.Tensor) -> Any:
        """As the network."""
        return self.call(*inputs)


def input_gradient(network: Callable[..., Any], x_BCHW: torch.Tensor) -> torch.Tensor:
    """The gradient [B,C,H,W] of a network's values [B,...] by their inputs, itself with a graph."""
    if isinstance(network, Mapped):  # autograd takes no gradients inside of vmap, and torch.func none on our tape
        gradient: torch.Tensor = torch.func.grad(lambda x: network(x).sum())(x_BCHW)
        return gradient
    with torch.enable_grad():  # also where nobody asks for the gradient of a loss
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
    """The ordinary way: the gradient of the mean loss of each network, times a weight. Returns losses, detached [N].

    only: networks that learn; all by default.
    """
    terms = losses(networks, *records)
    learned = by_loss(terms, networks if only is None else [name for name in networks if name in only])
    for loss, learning in learned:
        weights = [(networks[name], weight * factor) for name, factor in learning]
        add_gradients(loss.mean(), weights, retain_graph=loss is not learned[-1][0])
    return detached(terms)


def by_loss(terms: Terms, networks: Collection[str]) -> list[tuple[torch.Tensor, list[tuple[str, Any]]]]:
    """Each loss that something learns from, with the names of the networks that do, and their weights."""
    losses: dict[int, torch.Tensor] = {}
    learning: dict[int, list[tuple[str, Any]]] = defaultdict(list)
    for name, term in terms.items():
        if name in networks:
            weight, loss = term if isinstance(term, Weighted) else (1.0, term)
            losses[id(loss)] = loss
            learning[id(loss)].append((name, weight))
    return [(losses[key], learning[key]) for key in losses]


def detached(terms: Terms) -> dict[str, torch.Tensor]:
    """Without graph, and times their weights, of several trainings each its own."""
    return {
        name: (_times_weight(term) if isinstance(term, Weighted) else term).detach() for name, term in terms.items()
    }


def _times_weight(term: Weighted) -> torch.Tensor:
    weight = term.weight
    return (weight[..., None] if isinstance(weight, torch.Tensor) else weight) * term.loss


def add_gradients(
    loss: torch.Tensor, weights: list[tuple[nn.Module, float | torch.Tensor]], retain_graph: bool = False
) -> None:
    """Add the gradient of a scalar, times a network's weight, to `.grad` of these networks, and to nothing else."""
    owned = [(p, weight) for network, weight in weights for p in network.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, [p for p, _ in owned], retain_graph=retain_graph)
    for (parameter, weight), gradient in zip(owned, gradients, strict=True):
        unweighted = isinstance(weight, float) and weight == 1
        add_gradient(parameter, gradient if unweighted else weight * gradient)


def add_gradient(parameter: nn.Parameter, gradient: torch.Tensor) -> None:
    """Add to `.grad`, in the parameter's own order in memory.

    torch's fused Adam reads parameter and gradient as they lie in a CPU's memory, and does not see that they are in
    different orders.
    """
    if gradient.stride() != parameter.stride():
        gradient = torch.empty_like(parameter).copy_(gradient)
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
