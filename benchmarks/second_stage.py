"""`python -m benchmarks second_stage [--trials 10000] [--derived NAMES]`: what derived attacks cost a large study.

On the made-up finished store of `benchmarks.bookkeeping`, whose scores are random: reading them, computing what is
derived of each attack, and sealing a pass a trial, in one process. Exit code 1 when it takes longer than SECONDS.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence

from benchmarks.bookkeeping import make_store
from mia_core.data import load_pool
from study.design.study_design import Design
from study.machine import PROJECT
from study.run.deriving import derive
from study.spec.study_file import read as read_spec
from study.store import read

SECONDS = 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks second_stage", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--derived", help="names with commas between; by default what a study file without any has")
    options = parser.parse_args(arguments)
    config = PROJECT / "configs" / "digits.yaml"
    each = sum(len(cell.levels) for cell in read_spec(config, ["replicates=1"]).cells)
    overrides = [f"replicates={-(-options.trials // each)}", "tracking=~"]
    if options.derived:
        overrides.append(f"derived={json.dumps(options.derived.split(','))}")
    spec = read_spec(config, overrides)
    design = Design(spec, load_pool(spec.data))
    with tempfile.TemporaryDirectory() as scratch:
        store = make_store(design, scratch)
        worked = time.process_time()
        found = derive(design, store)
        worked = time.process_time() - worked
        queries = len(read(store.root, store.study, "scores", all=True)) // max(1, len(design.every))
    print(f"{len(found.trials):,} trials, {found.rows:,} derived rows, about {queries:,} sealed scores a trial:")
    print(f"derived and sealed in {found.seconds:.1f} s ({worked:.1f} s of a processor)")
    return int(found.seconds > SECONDS)


if __name__ == "__main__":
    sys.exit(main())
