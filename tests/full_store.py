"""`python -m tests.full_store STUDY_FILE FOLDER [KEY=VALUE]`: a store to keep; see tests/study/stores/README.md.

FOLDER gets `small`, the store, and `golden.json`, the digest of every column of every table. The study is run with the
overrides first (by default `replicates=1`), compacted, and run as it is, so that some passes are in a compaction and
others are not. The name of this machine is left out.
"""

import csv
import hashlib
import json
import platform
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from unittest import mock

import torch
from PIL import Image

from mia_core.data import SOURCES, load_pool
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing
from study.machine import code_versions, versions
from study.run.runner import Runner
from study.spec.study_file import read as read_spec
from study.store import Store, compact, read
from study.store.reading import TABLES
from study.store.schema import RENAMED

RECORDS = 150
PERSON = (1, 1, 2, 1, 1, 3)
"""Records of one person after the other, again and again: most have one, whose coins an audit can judge."""


def write_people(folder):
    """Scikit-learn's first digits as image files, with digit and person in a table."""
    folder.mkdir()
    digits = load_pool(SOURCES.choose({"name": "digits", "size": 8}))
    persons = [person for person in range(RECORDS) for _ in range(PERSON[person % len(PERSON)])]
    rows = [("file", "label", "person")]
    for number in range(RECORDS):
        rows.append((f"{number:03d}.png", str(digits.labels[number]), str(persons[number])))
        Image.fromarray(digits.images[number, 0]).save(folder / rows[-1][0])
    with (folder / "people.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def run(design, store):
    """What a sweep does, in this process: publish, then train, measure and attack what is missing."""
    store.publish(design.hash, design.spec.resolved, design_rows(design), {**code_versions(), "versions": versions()})
    runner = Runner(design, store, code=code_versions())
    for works in missing(design, store).values():
        for sealed in runner.run(works):
            assert not sealed.failed, sealed.failed


def digests(root, study):
    """By table: its number of rows, and by column a digest of the exact values, as written, in their order."""
    return {table: _digests(read(root, study, table, as_written=True)) for table in TABLES}


def named_now(table, columns):
    """Columns of golden digests by the names that they have today."""
    renamed = RENAMED.get("attacks" if table == "wide" else table, {})
    return {renamed.get(name, name): digest for name, digest in columns.items()}


def _digests(frame):
    columns = {name: hashlib.sha256(_plain(frame[name]).encode()).hexdigest()[:16] for name in frame}
    return {"rows": len(frame), "columns": columns}


def _plain(column):
    """JSON that is the same whichever types pandas reads the values as."""
    values = column.astype(object).where(column.notna(), None).tolist()
    return json.dumps([float(value) if isinstance(value, int | float) else value for value in values], default=str)


def make(study_file, folder, first):
    """Runs a study file twice: with the overrides of `first`, which is compacted, then all."""
    torch.set_num_threads(1)
    write_people(Path("people"))
    for overrides in (first, []):
        spec = read_spec(study_file, overrides)
        store = Store(folder, spec.study)
        if store.passes():
            compact(store)
        run(Design(spec, load_pool(spec.data)), store)
    golden = digests(folder, spec.study)
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    study_file, folder = (Path(argument).absolute() for argument in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as work, chdir(work), mock.patch.object(platform, "node", return_value="laptop"):
        make(study_file, folder, sys.argv[3:] or ["replicates=1"])
