"""Which registered attacks use a capability of a model."""

from mia_core.attacks.attack import ATTACKS


def attacks_on(capability: str) -> list[str]:
    """Names of attacks that use it with their default settings, sorted."""
    return [name for name in ATTACKS.names() if capability in ATTACKS.choose(name).build().uses]
