"""Running the notebooks that fit a study; it says which do not fit, and why.

A page loads nothing from anywhere, and names no record unless records are included.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from markupsafe import Markup
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from analysis.stats.records import records
from analysis.study_data import StudyData, load
from study.outcomes import writing
from study.store import Store
from study.terminal import say

FOLDER = Path(__file__).parent
RECORDS = "05_records_at_risk"
"""The notebook that names records, where they are included; its page has another name then."""
BEGIN = '%reset -f\n__import__("pandas").set_option("display.max_colwidth", None)'
"""Run before each notebook: it begins without names, and its tables cut no words."""
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
    if notebook == RECORDS:
        return UNSCORED if study.public else records(study, study.primary).attrs["reason"]
    return None


@contextlib.contextmanager
def executing(study: str | Path, include_records: bool = False) -> Iterator[Callable[[Path], nbformat.NotebookNode]]:
    """What gives a notebook with its outputs; CellExecutionError when a cell raises.

    One kernel runs them all, for most of a kernel's time is its imports; each notebook begins without names. It
    communicates through sockets in a folder that only its owner may enter, and by no network.
    """
    sockets = tempfile.mkdtemp(prefix="kernel-")
    own = {"connection_file": f"{sockets}/kernel.json", "transport": "ipc", "ip": f"{sockets}/s"}
    manager = AsyncKernelManager(kernel_name="python3", **own)
    variables = {"STUDY_FOLDER": Store.at(study).uri, "INCLUDE_RECORDS": "yes" if include_records else ""}

    def execute(notebook: Path) -> nbformat.NotebookNode:
        document = nbformat.read(notebook, as_version=4)
        document.cells.insert(0, nbformat.v4.new_code_cell(BEGIN))
        client = NotebookClient(document, km=manager, timeout=600, resources={"metadata": {"path": str(FOLDER)}})
        client.execute(env={**os.environ, **variables})
        del document.cells[0]
        return document

    try:
        yield execute
    finally:
        if manager.has_kernel:
            run_sync(manager.shutdown_kernel)(now=True)
        shutil.rmtree(sockets, ignore_errors=True)


def to_page(document: nbformat.NotebookNode, title: str) -> str:
    """HTML of an executed notebook's words and outputs, in one piece; it is changed.

    title: `STUDY: NOTEBOOK`; the page begins with the name. What its kernel wrote to stderr is left out: warnings
    name folders of this machine.
    """
    for cell in document.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    exporter = HTMLExporter(
        template_name="basic", exclude_input=True, exclude_anchor_links=True, exclude_output_prompt=True
    )
    body, _ = exporter.from_notebook_node(document)  # escapes what it is given
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html").render(title=title, study=title.partition(": ")[0], body=Markup(body))


def run(folder: str, include_records: bool) -> None:
    """Write one HTML page per notebook into the study's reports, and print each path."""
    study = load(folder)
    store = Store.at(folder)
    with writing(store.reports):
        store.make_reports()
    with executing(folder, include_records) as execute:
        for notebook in sorted(FOLDER.glob("*.ipynb")):
            if reason := misfit(notebook.stem, study):
                say(f"{notebook.stem}: does not fit, {reason}")
                continue
            document = execute(notebook)
            named = "_with_records" if include_records and notebook.stem == RECORDS else ""
            page = to_page(document, f"{study.name}: {notebook.stem}").encode(errors="backslashreplace")
            with writing(store.reports):
                say(store.save_report(f"{notebook.stem}{named}.html", page))
