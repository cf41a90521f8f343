"""`python -m tests.hostile`: all hostile cases, counted by kind; with names of groups, those alone.

With --most N, so many cases of each group, spread over all.

Exit code 1 where any case ended in a traceback, a wrong number, a followed link, or advice that does not help.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests import shared
from tests.hostile.counting import Group, counted, table
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


def main(names: Sequence[str], most: int | None = None) -> int:
    """Run groups, and print the table; the exit code. most: of each group; None for all."""
    outcomes, opened = [], shared.open_folder()
    os.environ["MIA_STUDY_CACHE"] = str(Path(os.environ[shared.FOLDER]) / "cache")
    try:
        for name in names or GROUPS:
            started = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                found = counted(GROUPS[name](Path(folder), most))
            outcomes += found
            print(f"{name}: {len(found)} cases in {time.monotonic() - started:.0f} s", flush=True)
    finally:
        if opened:
            shared.drop_folder()
    print(*table(outcomes), sep="\n")
    return int(any(outcome.fault for outcome in outcomes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--most", type=int, help="cases of each group")
    options = parser.parse_args()
    sys.exit(main(options.names, options.most))
