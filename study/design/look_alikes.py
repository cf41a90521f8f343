"""Records that look alike across the membership line, in each replicate at the largest train_size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.table import Table

from mia_core.data import Pool, load_pool
from mia_core.data.near_duplicates import THUMBNAIL, closest, difference_hash, thumbnails
from mia_core.distances import nearest
from mia_core.errors import Refused
from study.outcomes import COMPLETE, writing
from study.spec.study_file import Spec, read
from study.store import Store
from study.store.outputs import write_output
from study.store.spreadsheets import to_csv
from study.terminal import Console, say

BITS = (0, 2, 4, 8, 16)


def run(config: str, overrides: Sequence[str], preset: str | None, by: str, count: int, output: str | None) -> int:
    """Measure, print `count` pairs, write all; the exit code. output: a .csv or .parquet file."""
    spec = read(config, overrides, preset)
    if output and not output.endswith((".csv", ".parquet")):
        raise Refused(f"--output {output}: must end in .csv or .parquet")
    pairs = find(spec, load_pool(spec.data), by)
    path = _write(pairs, output, Store(spec.results, spec.study))
    _show(Console(), pairs, by, count)
    say(f"pairs:    {path}")
    return COMPLETE


def find(spec: Spec, pool: Pool, by: str) -> pd.DataFrame:
    """One row a replicate and non-member query, the closest first.

    Columns: replicate, train_size, query, record (of the training set; both index the pool), distance, query_label,
    record_label. by: `hash` or `thumbnail`.
    """
    split = spec.split.build(pool, spec.train_sizes, spec.seed)
    size = max(spec.train_sizes)
    features = difference_hash(pool.images) if by == "hash" else _flat(thumbnails(pool.images, THUMBNAIL))
    tables = []
    for replicate in range(spec.replicates):
        membership = split.membership(replicate, size)
        queries = membership.queries[~membership.member]
        if by == "hash":
            distances, places = closest(features[queries], features[membership.train])
        else:
            found = nearest(torch.from_numpy(features[queries]), torch.from_numpy(features[membership.train]))
            distances, places = (values[:, 0].numpy() for values in found)
        records = membership.train[places]
        labels = {"query_label": pool.labels[queries], "record_label": pool.labels[records]}
        pair = {"query": queries, "record": records, "distance": distances}
        tables.append(pd.DataFrame({"replicate": replicate, "train_size": size, **pair, **labels}))
    return pd.concat(tables).sort_values(["distance", "replicate", "query"], ignore_index=True)


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32)


def _write(pairs: pd.DataFrame, output: str | None, store: Store) -> Path:
    """Where they are now."""
    is_parquet = bool(output) and str(output).endswith(".parquet")
    data = pairs.to_parquet(index=False) if is_parquet else to_csv(pairs)
    with writing(Path(output or store.reports)):
        if not output:
            return store.save_report("near_duplicates.csv", data)
        write_output(Path(output), data)
    return Path(output)


def _show(console: Console, pairs: pd.DataFrame, by: str, count: int) -> None:
    replicates = pairs["replicate"].nunique()
    console.say(f"{len(pairs)} non-member queries in {replicates} replicates, each with its closest training record")
    if by == "hash":
        for bits in BITS:
            console.say(f"  at most {bits:2} of 128 bits apart: {(pairs['distance'] <= bits).mean():7.2%}")
    table = Table("replicate", "query", "record", "distance", "labels")
    for row in pairs.head(count).to_dict("records"):
        labels = f"{row['query_label']}, {row['record_label']}"
        table.add_row(*(str(row[key]) for key in ("replicate", "query", "record")), f"{row['distance']:g}", labels)
    console.print(table)
