"""`mia-study report ROOT/STUDY [--out FILE] [--include-records]`: a study's answer as one HTML file.

It needs nothing but itself: no network, no other file. Exit code 2: refused.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from analysis.report.building import build
from mia_core import private_files
from study.store import Away, Damaged, Store
from study.store.roots import WHERE
from study.tracking.tracker import REPORT

WITH_RECORDS = "report_with_records.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; the exit code."""
    parser = argparse.ArgumentParser(prog="mia-study report", description=__doc__.splitlines()[0])
    parser.add_argument("folder", help=WHERE)
    parser.add_argument("--out", type=Path, help=f"the file to write (default: reports/{REPORT} in the study's folder)")
    parser.add_argument(
        "--include-records", action="store_true", help="with samples and record numbers: as sensitive as the data"
    )
    options = parser.parse_args(arguments)
    matplotlib.use("Agg")
    try:
        page = build(options.folder, options.include_records).html()
        name = WITH_RECORDS if options.include_records else REPORT
        path = options.out or Store.at(options.folder).reports / name
        private_files.make_folder(path.parent)
        with private_files.open_file(path, "w") as file:
            file.write(page)
    except (ValueError, OSError, Damaged, Away) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
