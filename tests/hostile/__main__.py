"""`python -m tests.hostile`: all hostile cases, counted by kind; with names of groups, those alone.

Exit code 1 where any case ended in a traceback, a wrong number, a followed link, or advice that does not help.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from tests import shared
from tests.hostile.counting import Group, counted, table
from tests.hostile.odd_clusters import clusters
from tests.hostile.odd_environments import limits, variables
from tests.hostile.odd_studies import studies

GROUPS: dict[str, Group] = {
    "study files": studies,
    "cluster files": clusters,
    "environments": variables,
    "limits of containers": limits,
}


def main(names: list[str]) -> int:
    """Run groups, and print the table; the exit code."""
    outcomes, opened = [], shared.open_folder()
    os.environ["MIA_STUDY_CACHE"] = str(Path(os.environ[shared.FOLDER]) / "cache")
    try:
        for name in names or GROUPS:
            started = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                found = counted(GROUPS[name](Path(folder)))
            outcomes += found
            print(f"{name}: {len(found)} cases in {time.monotonic() - started:.0f} s", flush=True)
    finally:
        if opened:
            shared.drop_folder()
    print(*table(outcomes), sep="\n")
    return int(any(outcome.fault for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
