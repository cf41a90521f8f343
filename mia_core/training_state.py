"""The state of a training: collected, checked when it comes from a file, and loaded.

A state that was read from a file is checked before any part of it is used.
"""

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from mia_core.secret_draws import KEY_BYTES

Optimizers = Mapping[str, torch.optim.Optimizer]


@dataclass(frozen=True)
class Epoch:
    """A row of the history. means: each value that the target reported, averaged over the steps that reported it."""

    epoch: int
    step: int
    seconds: float
    means: dict[str, float]


class State(NamedTuple):
    """The tensors of target and optimizers by name, and the rest as JSON-like values."""

    tensors: dict[str, torch.Tensor]
    rest: dict[str, Any]

    @classmethod
    def of(
        cls,
        target: nn.Module,
        optimizers: Optimizers,
        *,
        version: int,
        step: int,
        history: Sequence[Epoch],
        begun_epoch: dict[str, list[float]],
        begun_seconds: float,
        spent: Sequence[Sequence[float]],
        key: bytes | None,
    ) -> "State":
        """Copies on the CPU. version: of the training loop. spent: the accountant's history. key: of private draws."""
        tensors = {f"target.{name}": _copy(value) for name, value in target.state_dict().items()}
        for name, optimizer in optimizers.items():
            for index, values in optimizer.state_dict()["state"].items():
                for field, value in values.items():
                    tensors[f"optimizer.{name}.{index}.{field}"] = _copy(torch.as_tensor(value))
        return cls(
            tensors,
            {
                "version": version,
                "step": step,
                "history": [dataclasses.asdict(row) for row in history],
                "begun_epoch": begun_epoch,
                "begun_seconds": begun_seconds,
                "spent": [list(row) for row in spent],
                **({} if key is None else {"key": key.hex()}),
            },
        )

    def check(
        self, target: nn.Module, optimizers: Optimizers, version: int, horizon: int | None, private: bool
    ) -> None:
        """ValueError if no training of this target has such a state: wrong tensors, shapes, types or counters.

        version: of the training loop that would resume from the state. horizon: the maximal number of steps, if
        limited. private: whether private steps are counted. Finite values of the right shape are accepted; the store
        checks whether they are the ones that were saved.
        """
        tensors, rest = self
        _require(isinstance(rest, dict), "it has no counters")
        _require(rest.get("version") == version, f"it is of version {rest.get('version', 1)!r} of the training loop")
        step = rest.get("step")
        _require(_counts(step), f"step {step!r} is no number of steps")
        assert isinstance(step, int)
        _require(step <= (horizon or step), f"step {step} is beyond the horizon of {horizon}")
        weights = {f"target.{name}": value for name, value in target.state_dict().items()}
        for name, value in weights.items():
            _require(name in tensors, f"{name} is missing")
            _require_like(name, tensors[name], value)
        known = set(weights)
        for name, optimizer in optimizers.items():
            known |= _require_optimizer(f"optimizer.{name}", optimizer, tensors, begun=step > 0)
        strange = sorted(tensors.keys() - known)
        _require(not strange, f"{strange[:1]} is of no target or optimizer here")
        _require_rest(rest, step)
        if private and rest["spent"]:
            _require(rest["spent"][0][2] >= step, f"spent {rest['spent']} is less than its {step} steps")

    def load(self, target: nn.Module, optimizers: Optimizers) -> None:
        """Load a checked state into a target and its optimizers."""
        target.load_state_dict(
            {name.removeprefix("target."): t for name, t in self.tensors.items() if name.startswith("target.")}
        )
        for name, optimizer in optimizers.items():
            state: dict[int, dict[str, torch.Tensor]] = defaultdict(dict)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for key, tensor in self.tensors.items():
                if key.startswith(f"optimizer.{name}."):
                    index, field = key.removeprefix(f"optimizer.{name}.").split(".")
                    state[int(index)][field] = _in_order_of(parameters[int(index)], tensor)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(state)})


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU, in contiguous memory format, as files have it."""
    return tensor.detach().clone(memory_format=torch.contiguous_format).cpu()


def _in_order_of(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A copy of an optimizer's tensor for a parameter, in the parameter's memory format: see `add_gradient`."""
    if tensor.shape != parameter.shape:
        return tensor.clone()
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def _require_optimizer(
    name: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], begun: bool
) -> set[str]:
    """Names of an optimizer's tensors, once checked: the same fields for each parameter, none before the first step."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    held = {key for key in tensors if key.startswith(f"{name}.")}
    fields = {key.rpartition(".")[2] for key in held}
    wanted = {f"{name}.{index}.{field}" for index in range(len(parameters)) for field in fields}
    _require(held == wanted and bool(held) == begun, f"{name} lacks tensors, or has some too many")
    for index, parameter in enumerate(parameters):
        for field in fields:
            key = f"{name}.{index}.{field}"
            _require_like(key, tensors[key], parameter if tensors[key].ndim else torch.zeros(()))
            _require(field != "step" or float(tensors[key]) >= 0, f"{key} is negative")
    return held


def _require_like(name: str, tensor: torch.Tensor, like: torch.Tensor) -> None:
    shapes = f"{name} is {tensor.dtype} {list(tensor.shape)}, not {like.dtype} {list(like.shape)}"
    _require(tensor.shape == like.shape and tensor.dtype == like.dtype, shapes)
    _require(bool(torch.isfinite(tensor).all()), f"{name} is not finite")


def _require_rest(rest: Mapping[str, Any], step: int) -> None:
    spent: Any = rest.get("spent")
    sound = isinstance(spent, list) and all(isinstance(row, list) and len(row) == 3 for row in spent)
    _require(sound and all(_counts(row[2]) for row in spent), f"spent {str(spent)[:80]} is no account")
    history = rest.get("history")
    sound = isinstance(history, list) and all(
        isinstance(row, dict)
        and row.keys() == {"epoch", "step", "seconds", "means"}
        and _counts(row["epoch"])
        and _counts(row["step"])
        and row["step"] <= step
        and _finite([row["seconds"]])
        and isinstance(row["means"], dict)
        and _finite(row["means"].values())
        for row in history
    )
    _require(sound, "history is no list of epochs")
    begun = rest.get("begun_epoch")
    sound = isinstance(begun, dict) and all(isinstance(row, list) and _finite(row) for row in begun.values())
    _require(sound, "begun_epoch is no mapping of values")
    seconds: Any = rest.get("begun_seconds")
    _require(_finite([seconds]) and seconds >= 0, "begun_seconds is no time")
    key = rest.get("key", "00" * KEY_BYTES)
    _require(isinstance(key, str) and re.fullmatch(f"[0-9a-f]{{{2 * KEY_BYTES}}}", key) is not None, "key is none")


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _finite(values: Any) -> bool:
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"no state of this training: {otherwise}")
