"""One trial's science: data, targets, defenses, training, attacks, metrics. Usable alone, as a library.

`mia_core.train`, `mia_core.attack` and `mia_core.judge` are its front door (`mia_core.front`), `SampleFolder` and
`Sampler` what can be attacked besides trained targets.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mia_core.front import SampleFolder, Sampler, attack, judge, train

__all__ = ["SampleFolder", "Sampler", "attack", "judge", "train"]


def __getattr__(name: str) -> Any:
    """The front door, when it is first used: a command's help must not wait for torch."""
    if name in __all__:
        from mia_core import front

        return getattr(front, name)
    raise AttributeError(f"module 'mia_core' has no attribute {name!r}")
