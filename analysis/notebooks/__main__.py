"""`mia-study notebooks ROOT/STUDY`: run the notebooks that fit a study; pages go to its reports.

It says which do not fit, and why. A study in a bucket has them on this machine, in reports/STUDY.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from analysis.stats.records import records
from analysis.study_data import StudyData, load
from mia_core import private_files
from study.store import Away, Damaged, Store
from study.store.roots import WHERE

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one HTML page a notebook."""
    parser = argparse.ArgumentParser(prog="mia-study notebooks", description=__doc__.splitlines()[0])
    parser.add_argument("folder", help=WHERE)
    options = parser.parse_args(arguments)
    try:
        study = load(options.folder)
        reports = Store.at(options.folder).reports
        private_files.make_folder(reports)
    except (ValueError, OSError, Damaged, Away) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    for notebook in sorted(FOLDER.glob("*.ipynb")):
        if reason := misfit(notebook.stem, study):
            print(f"{notebook.stem}: does not fit, {reason}")
            continue
        page, _ = HTMLExporter(exclude_input=True).from_notebook_node(execute(notebook, options.folder))
        path = reports / f"{notebook.stem}.html"
        with private_files.open_file(path, "w") as file:
            file.write(page)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
