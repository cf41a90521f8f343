"""The science of one trial: data, targets, defenses, training, attacks and metrics. Works alone, as a library.

The public entry points are `mia_core.train`, `mia_core.attack` and `mia_core.judge` (see `mia_core.front`).
`SampleFolder` and `Sampler` wrap models that were trained elsewhere, so that they can be attacked.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mia_core.front import SampleFolder, Sampler, attack, judge, train

__all__ = ["SampleFolder", "Sampler", "attack", "judge", "train"]


def __getattr__(name: str) -> Any:
    """Import the entry points on first use, so that a command's `--help` does not wait for torch."""
    if name in __all__:
        from mia_core import front

        return getattr(front, name)
    raise AttributeError(f"module 'mia_core' has no attribute {name!r}")
