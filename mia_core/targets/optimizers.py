"""torch's optimizers without its compiler.

torch wraps methods of optimizers for `torch.compile`, and imports the compiler when the first optimizer is made: that
takes seconds of processor time in every process, as long as all other imports of a worker. Nothing here is compiled.
"""

import inspect
from typing import TypeVar

import torch

Optimizer = TypeVar("Optimizer", bound=torch.optim.Optimizer)

WRAPPED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def without_compiler(cls: type[Optimizer]) -> type[Optimizer]:
    """A subclass with the same methods, as they were before torch wrapped them: its steps have the same bits."""
    plain = {name: inspect.unwrap(getattr(cls, name)) for name in WRAPPED}
    return type(cls.__name__, (cls,), {**plain, "step": torch.no_grad()(inspect.unwrap(cls.step))})


Adam = without_compiler(torch.optim.Adam)
RMSprop = without_compiler(torch.optim.RMSprop)
