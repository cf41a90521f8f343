"""The store is the truth: immutable Parquet files, believed only when a done-marker lists them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.store.compacting import Compactor, compact
    from study.store.files import Away, Damaged
    from study.store.new_pass import Pass, seal_together
    from study.store.passes import Done, Store
    from study.store.reading import TABLES, read
    from study.store.tensors import to_bytes

__all__ = [
    "TABLES",
    "Away",
    "Compactor",
    "Damaged",
    "Done",
    "Pass",
    "Store",
    "compact",
    "read",
    "seal_together",
    "to_bytes",
]

_HOMES = {
    "files": ("Away", "Damaged"),
    "new_pass": ("Pass", "seal_together"),
    "passes": ("Done", "Store"),
    "reading": ("TABLES", "read"),
    "compacting": ("Compactor", "compact"),
    "tensors": ("to_bytes",),
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: pandas takes seconds, which a status or a help text need not wait for."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
