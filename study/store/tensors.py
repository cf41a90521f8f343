"""Tensors with a state, as safetensors: nothing of them is executed when they are read."""

from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch

from mia_core.hashing import canonical_json
from mia_core.plain_json import parse_json

Tensors = Mapping[str, torch.Tensor]
Loaded = tuple[dict[str, torch.Tensor], dict[str, Any]]
"""Tensors by name, and the state beside them."""


def to_bytes(tensors: Tensors, state: Mapping[str, Any]) -> bytes:
    """safetensors; the state is one JSON text, so that equal content has equal bytes."""
    plain = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    return safetensors.torch.save(plain, metadata={"state": canonical_json(state)})


def parse_tensors(data: bytes) -> Loaded:
    """Tensors and state; nothing is executed. ValueError for what is no safetensors file."""
    length = int.from_bytes(data[:8], "little")
    try:
        header = parse_json(data[8 : 8 + length])
        return safetensors.torch.load(data), parse_json(header.get("__metadata__", {}).get("state", "{}"))
    except (ValueError, AttributeError, safetensors.SafetensorError):
        raise ValueError("is no safetensors file") from None
