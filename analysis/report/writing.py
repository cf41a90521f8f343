"""The report as files: the page, and its numbers for programs."""

from pathlib import Path

import matplotlib

from analysis.report.building import build
from analysis.report.page_numbers import as_csv, as_json
from study.outcomes import writing
from study.store import Store
from study.store.outputs import write_output
from study.terminal import say
from study.tracking.tracker import REPORT

WITH_RECORDS = "report_with_records.html"


def run(folder: str, out: Path | None, include_records: bool) -> None:
    """Write the page, and its numbers as JSON and CSV beside it, and print their paths.

    out: the page's file, by default in reports/ in the study's folder.
    """
    matplotlib.use("Agg")
    matplotlib.rcdefaults()  # a matplotlibrc of the working folder could have TeX run
    page = build(folder, include_records)
    html = page.html().encode(errors="backslashreplace")  # before the others: it numbers its sources
    store = Store.at(folder)
    with writing(out or store.reports):
        for ending, data in ((".html", html), (".json", as_json(page)), (".csv", as_csv(page))):
            name = out.name if out else WITH_RECORDS if include_records else REPORT
            name = name if ending == ".html" else f"{name.removesuffix('.html')}{ending}"
            if out is None:
                say(store.save_report(name, data))
            else:
                write_output(out.with_name(name), data)
                say(out.with_name(name))
