"""Optimizers without torch's compiler: the same bits (test_front.py has that no process that trains imports it)."""

import pytest
import torch

from mia_core.streams import Streams
from mia_core.targets import optimizers


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("Adam", {"betas": (0.5, 0.999), "fused": True}), ("Adam", {}), ("RMSprop", {})],
)
def test_steps_and_states_have_the_bits_of_torchs_own(name, arguments):
    found = []
    for cls in (getattr(torch.optim, name), getattr(optimizers, name)):
        random = Streams(3).torch("weights")
        weights = [torch.nn.Parameter(torch.randn(5, 4, generator=random)) for _ in range(2)]
        optimizer = cls(weights, 0.01, **arguments)
        for step in range(4):
            optimizer.zero_grad()
            sum((weight**3).sum() for weight in weights).backward()
            optimizer.step()
            if step == 1:  # taken up again, as a resumed training does
                state = optimizer.state_dict()
                optimizer = cls(weights, 0.01, **arguments)
                optimizer.load_state_dict(state)
        found.append(([weight.detach() for weight in weights], optimizer.state_dict()["state"]))
    (ours, our_state), (theirs, their_state) = found
    assert all(map(torch.equal, ours, theirs))
    assert all(torch.equal(our_state[0][key], their_state[0][key]) for key in their_state[0])
