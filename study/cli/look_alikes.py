"""`mia-study near-duplicates [CONFIG] [--set key=value]`: records that look alike across the membership line.

A non-member query that looks like a training record is hard to tell from a member, and no fault of an attack. For each
replicate, at the largest train_size: every non-member query with the training record closest to it. All pairs are
written, the closest ones printed. `--set split.near_duplicates=BITS` then keeps such records on one side.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from mia_core import private_files
from mia_core.data import Pool, load_pool
from mia_core.data.near_duplicates import closest, difference_hash, thumbnails
from mia_core.distances import nearest
from study.spec.study_file import Spec, read
from study.store import Store
from study.sweep import COMPLETE, REFUSED, add_study_arguments

THUMBNAIL = 16
BITS = (0, 2, 4, 8, 16)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; the exit code, as in a sweep."""
    parser = argparse.ArgumentParser(prog="mia-study near-duplicates", description=__doc__.splitlines()[0])
    add_study_arguments(parser)
    parser.add_argument(
        "--by",
        choices=("hash", "thumbnail"),
        default="hash",
        help=f"differing bits of 128, or Euclidean distance of {THUMBNAIL} x {THUMBNAIL} gray thumbnails (0 to 255)",
    )
    parser.add_argument("--pairs", type=int, default=10, help="pairs to print")
    parser.add_argument("--output", help="a .csv or .parquet file (default: reports/ of the study's results)")
    options = parser.parse_args(arguments)
    try:
        spec = read(options.config, options.set, options.preset)
        output = Path(options.output or Store(spec.results, spec.study).reports / "near_duplicates.csv")
        if output.suffix not in (".csv", ".parquet"):
            raise ValueError(f"--output {output}: must end in .csv or .parquet")
        pairs = find(spec, load_pool(spec.data), options.by)
        _write(pairs, output)
    except ValueError as error:
        print(f"refused: {error}", file=sys.stderr)
        return REFUSED
    _show(Console(highlight=False), pairs, options.by, options.pairs)
    print(f"pairs:    {output}")
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


def _write(pairs: pd.DataFrame, output: Path) -> None:
    try:
        private_files.make_folder(output.parent)
        with private_files.open_file(output, "wb") as file:
            if output.suffix == ".csv":
                pairs.to_csv(file, index=False)
            else:
                pairs.to_parquet(file, index=False)
    except OSError as error:
        raise ValueError(f"--output {output}: cannot be written: {error.strerror or error}") from None


def _show(console: Console, pairs: pd.DataFrame, by: str, count: int) -> None:
    replicates = pairs["replicate"].nunique()
    console.print(f"{len(pairs)} non-member queries in {replicates} replicates, each with its closest training record")
    if by == "hash":
        for bits in BITS:
            console.print(f"  at most {bits:2} of 128 bits apart: {(pairs['distance'] <= bits).mean():7.2%}")
    table = Table("replicate", "query", "record", "distance", "labels")
    for row in pairs.head(count).to_dict("records"):
        labels = f"{row['query_label']}, {row['record_label']}"
        table.add_row(*(str(row[key]) for key in ("replicate", "query", "record")), f"{row['distance']:g}", labels)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
