"""Running the notebooks that fit a study; it says which do not fit, and why."""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from analysis.stats.records import records
from analysis.study_data import StudyData, load
from study.outcomes import writing
from study.store import Store

FOLDER = Path(__file__).parent


UNSCORED = "a public copy has no scores"
DRAWN = "its design draws points, and crosses no levels"
SEARCHED = "a search chose its points by what came out, and no effect is estimated from them"


def misfit(notebook: str, study: StudyData) -> str | None:
    """Why a notebook, by its name, has nothing to show of a study; None where it has."""
    if (notebook == "06_search") != study.searched:
        return SEARCHED if study.searched else "it is no search"
    if study.drawn and notebook != "01_sensitivity":
        return DRAWN
    if notebook == "02_tradeoff" and study.quality is None:
        return "no quality was measured"
    if notebook == "03_attacks_and_roc" and study.public:
        return UNSCORED
    if notebook == "04_private_training" and not study.private:
        return "no arm has an epsilon"
    if notebook == "05_records_at_risk":
        return UNSCORED if study.public else records(study, study.primary).attrs["reason"]
    return None


def execute(notebook: Path, study: str | Path) -> nbformat.NotebookNode:
    """The notebook with its outputs; CellExecutionError when a cell raises."""
    document = nbformat.read(notebook, as_version=4)
    os.environ["STUDY_FOLDER"] = Store.at(study).uri
    client = NotebookClient(document, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}})
    return client.execute()


def run(folder: str) -> None:
    """Write one HTML page per notebook into the study's reports, and print each path."""
    study = load(folder)
    reports = Store.at(folder).reports
    with writing(reports):
        reports.mkdir(parents=True, exist_ok=True)
    for notebook in sorted(FOLDER.glob("*.ipynb")):
        if reason := misfit(notebook.stem, study):
            print(f"{notebook.stem}: does not fit, {reason}")
            continue
        page, _ = HTMLExporter(exclude_input=True).from_notebook_node(execute(notebook, folder))
        path = reports / f"{notebook.stem}.html"
        with writing(path):
            path.write_text(page, encoding="utf-8")
        print(path)
