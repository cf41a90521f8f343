"""What a trainer's future depends on, and comparing it bit for bit; and an evaluation on the way."""

import dataclasses

import torch

from mia_core.models import Snapshot
from mia_core.streams import Streams


def facts(trainer):
    """Everything a trainer's future depends on, and its history without the clock."""
    tensors, rest = trainer.state()
    history = [{**dataclasses.asdict(row), "seconds": None} for row in trainer.history]
    return tensors, {**rest, "history": history}


def assert_same(a, b):
    (tensors, rest), (others, other_rest) = facts(a), facts(b)
    assert rest == other_rest
    assert tensors.keys() == others.keys()
    different = [name for name, tensor in tensors.items() if not torch.equal(tensor, others[name])]
    assert not different


def evaluate(trainer):
    snapshot = Snapshot(trainer.target, Streams("evaluation"))
    return snapshot.discriminate(snapshot.samples(300))
