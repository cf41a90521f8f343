"""The report as a file."""

from pathlib import Path

import matplotlib

from analysis.report.building import build
from study.outcomes import writing
from study.store import Store
from study.tracking.tracker import REPORT

WITH_RECORDS = "report_with_records.html"


def run(folder: str, out: Path | None, include_records: bool) -> None:
    """Write the page, and print its path. out: by default reports/ in the study's folder."""
    matplotlib.use("Agg")
    page = build(folder, include_records).html()
    path = out or Store.at(folder).reports / (WITH_RECORDS if include_records else REPORT)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    print(path)
