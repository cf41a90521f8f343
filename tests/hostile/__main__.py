"""`python -m tests.hostile`: hostile cases, counted by kind; with names of groups, those alone.

Of each group a part is tried that is spread over all cases from a --seed, in --minutes of processor time together (10).
With --most N, so many cases of each group; with --all, all.

Exit code 1 where any case ended in a traceback, a wrong number, a followed link, or advice that does not help.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests import shared
from tests.hostile.counting import EVERY, Group, Sample, counted, table
from tests.hostile.damaged_stores import stores
from tests.hostile.odd_clusters import clusters
from tests.hostile.odd_environments import limits, variables
from tests.hostile.odd_studies import studies
from tests.hostile.values import doubled, json_values, row_values

GROUPS: dict[str, Group] = {
    "study files": studies,
    "cluster files": clusters,
    "environments": variables,
    "limits of containers": limits,
    "damaged stores": stores,
    "JSON of stores": json_values,
    "rows of stores": row_values,
    "rows of others": doubled,
}


MINUTES = 10.0


def main(names: Sequence[str], sample: Sample = EVERY, minutes: float | None = None) -> int:
    """Run groups, and print the table; the exit code. sample: of each group. minutes: that all of them have."""
    outcomes, opened, groups = [], shared.open_folder(), list(names or GROUPS)
    ends = time.process_time() + 60 * (minutes or 0)
    os.environ["MIA_STUDY_CACHE"] = str(Path(os.environ[shared.FOLDER]) / "cache")
    try:
        for place, name in enumerate(groups):
            started = time.process_time()
            if minutes is not None:  # what a group leaves is for those after it
                sample = replace(sample, seconds=max(1.0, (ends - started) / (len(groups) - place)))
            with tempfile.TemporaryDirectory() as folder:
                found = counted(GROUPS[name](Path(folder), sample))
            outcomes += found
            print(f"{name}: {len(found)} answers in {time.process_time() - started:.0f} s of the processor", flush=True)
    finally:
        if opened:
            shared.drop_folder()
    print(*table(outcomes), sep="\n")
    return int(any(outcome.fault for outcome in outcomes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--seed", type=int, default=0, help="another seed, other cases")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--minutes", type=float, default=MINUTES, help="of the processor, for all groups together")
    part.add_argument("--most", type=int, help="cases of each group")
    part.add_argument("--all", action="store_true", help="all cases, for hours")
    options = parser.parse_args()
    whole = options.all or options.most is not None
    sys.exit(main(options.names, Sample(options.most, seed=options.seed), None if whole else options.minutes))
