"""The report as a file."""

from pathlib import Path

import matplotlib

from analysis.report.building import build
from study.outcomes import writing
from study.store import Store
from study.store.outputs import write_output
from study.terminal import say
from study.tracking.tracker import REPORT

WITH_RECORDS = "report_with_records.html"


def run(folder: str, out: Path | None, include_records: bool) -> None:
    """Write the page, and print its path. out: by default reports/ in the study's folder."""
    matplotlib.use("Agg")
    matplotlib.rcdefaults()  # a matplotlibrc of the working folder could have TeX run
    page = build(folder, include_records).html().encode(errors="backslashreplace")
    store = Store.at(folder)
    with writing(out or store.reports):
        if out:
            write_output(out, page)
        say(out or store.save_report(WITH_RECORDS if include_records else REPORT, page))
