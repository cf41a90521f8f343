"""What is known of a model before it is attacked, or even trained: what tells whether an attack fits it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelFacts:
    """name: of messages. offers: its capabilities, see `mia_core.access`. record_shape: (C, H, W).

    timesteps: T of a diffusion model, whose times are 0 .. T-1. deviation: of the normal likelihood p(x | z) of an
    autoencoder's decoder, for pixels in [-1, 1]. tensors: number of the parameter tensors whose gradients it gives.
    Each is None of a model that has no such thing, or where it is not known.
    """

    name: str
    offers: frozenset[str]
    record_shape: tuple[int, ...]
    timesteps: int | None = None
    deviation: float | None = None
    tensors: int | None = None
