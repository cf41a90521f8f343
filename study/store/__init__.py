"""The store is the truth: immutable Parquet files, believed only when a done-marker lists them."""

from study.store.compacting import Compactor, compact
from study.store.files import Away, Damaged
from study.store.passes import Done, Pass, Store, to_bytes
from study.store.reading import TABLES, read

__all__ = ["TABLES", "Away", "Compactor", "Damaged", "Done", "Pass", "Store", "compact", "read", "to_bytes"]
