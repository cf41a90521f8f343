"""`python -m tests.left_behind.readers`: all that reads and copies the store results/small, in one process."""

import sys

from analysis import figures, tables
from analysis.notebooks import __main__ as notebooks
from analysis.report import __main__ as report
from study.cli import look_alikes, status
from study.store import __main__ as store

STUDY = "results/small"

if __name__ == "__main__":
    codes = {
        "report": report.main([STUDY]),
        "report with records": report.main([STUDY, "--include-records"]),
        "tables": tables.main([STUDY]),
        "figures": figures.main([STUDY, "figures"]),
        "notebooks": notebooks.main([STUDY]),
        "near duplicates": look_alikes.main(["study.yaml"]),
        "status": status.main([STUDY]),
        "check": store.main(["check", STUDY]),
        "export": store.main(["export", "--public", STUDY, "public"]),
    }
    print(codes)
    sys.exit(any(codes.values()))
