import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from analysis.notebooks import execution
from analysis.notebooks.execution import FOLDER, UNSCORED, executing, misfit, to_page
from analysis.stats.baselines import verdicts
from analysis.stats.guarantees import guarantees
from analysis.stats.summary import effects_of, overview
from analysis.study_data import load
from study.store import Store
from study.store.exporting import export_public
from tests.commands import mia_study, run_here

main = mia_study("notebooks")
figures = mia_study("figures")

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


SHOWN = {
    "01_sensitivity": (3, 7),
    "02_tradeoff": (3, 4),
    "03_attacks_and_roc": (3, 4),
    "04_private_training": (1, 5),
    "05_records_at_risk": (1, 4),
}
"""Pictures, and tables at least, of each notebook that fits a study; `test_search_results` runs that of searches."""


def test_every_notebook_is_tested():
    assert [path.stem for path in NOTEBOOKS] == [*SHOWN, "06_search"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.fixture(scope="module")
def executed(swept, lean, tmp_path_factory):
    """The folder of a study whose notebooks were run by the command, what it said, and those notebooks by name."""
    folder = shutil.copytree(swept[0] / "results" / "small", tmp_path_factory.mktemp("executed") / "small")
    documents = {}

    def kept(document, title):
        documents[title.partition(": ")[2]] = document
        return to_page(document, title)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "to_page", kept)
        done = run_here("notebooks", folder, str(folder))
    assert done.returncode == 0, done.stderr
    with executing(lean.uri) as execute:
        documents["05_records_at_risk"] = execute(FOLDER / "05_records_at_risk.ipynb")
    return folder, done.stdout, documents


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS[:-1], ids=lambda path: path.stem)
def test_notebooks_run_on_a_real_small_study_and_show_pictures_and_tables(path, executed):
    document = executed[-1][path.stem]
    kinds = [kind for cell in document.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]
    pictures, tables = SHOWN[path.stem]
    assert kinds.count("image/png") == pictures
    assert kinds.count("text/html") >= tables
    assert not [
        output for cell in document.cells for output in cell.get("outputs", []) if output.output_type == "error"
    ]


@pytest.mark.slow
def test_the_command_writes_pages_beside_the_study_and_says_which_do_not_fit(executed):
    folder, said, _ = executed
    assert "05_records_at_risk: does not fit, 2 replicates" in said
    assert "06_search: does not fit, it is no search" in said
    for notebook in NOTEBOOKS[:-2]:
        page = folder / "reports" / f"{notebook.stem}.html"
        assert str(page) in said
        text = page.read_text()
        assert text.count("<h1") == 1 and '<p class="study">Study small</p>' in text
        assert "Out[" not in text


@pytest.mark.long
def test_a_notebook_without_anything_to_show_of_a_study_says_why(lean, swept, tmp_path):
    study = load(lean.uri)
    assert {name: misfit(name, study) for name in SHOWN} == {
        "01_sensitivity": None,
        "02_tradeoff": "no quality was measured",
        "03_attacks_and_roc": None,
        "04_private_training": "no arm has an epsilon",
        "05_records_at_risk": None,
    }
    export_public(Store(swept[0] / "results", "small"), tmp_path / "public")
    public = load(tmp_path / "public")
    assert {name for name in SHOWN if misfit(name, public) == UNSCORED} == {"03_attacks_and_roc", "05_records_at_risk"}


@pytest.mark.slow
def test_the_figures_command_writes_pictures(swept, tmp_path):
    done = run_here("figures", tmp_path, str(swept[0] / "results" / "small"), str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.png"
        for name in (
            "leakage_over_training", "leakage_against_quality", "against_epsilon", "attacks_compared", "front", "roc",
            "declared_effects", "leakage_heatmap", "leakage_against_size", "parallel_coordinates", "audited_epsilon",
        )
    }  # fmt: skip


def test_a_folder_without_a_study_is_refused_in_one_line(tmp_path, capsys):
    for command in (main, lambda arguments: figures([*arguments, str(tmp_path)])):
        assert command([str(tmp_path / "absent")]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_every_control_is_shown(swept):
    study = load(swept[0] / "results" / "small")
    assert set(verdicts(study)["control"]) == {"blind", "null", "copycat"}


def test_tables_name_every_arm_and_only_noise_is_guaranteed(swept):
    study = load(swept[0] / "results" / "small")
    assert study.arms == ["none", "dp_sgd sigma=1", "dropout 0.5"]
    assert study.variants == ["dcgan"]
    assert study.attacks == ["white_box", "euclidean", "local_gan_steps2", "local_gan_steps4"]
    assert set(guarantees(study)["arm"]) == {"dp_sgd sigma=1"}
    assert len(guarantees(study)) == 4
    assert overview(study).loc["trials", ""] == "24"
    assert len(effects_of(study, "arm", "white_box")) == 2 * 2 * 2
    with pytest.raises(ValueError, match="it has white_box"):
        study.attack("whitebox")


@pytest.mark.long
def test_a_notebook_sees_nothing_of_the_one_before_it_in_the_same_kernel(lean, tmp_path):
    def notebook(name, source):
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), tmp_path / name)
        return tmp_path / name

    with executing(lean.uri, True) as execute:
        execute(notebook("first.ipynb", "import os; mine = 1"))
        document = execute(notebook("second.ipynb", "import os; 'mine' in dir(), os.environ['INCLUDE_RECORDS']"))
        with pytest.raises(CellExecutionError, match="mine"):
            execute(notebook("third.ipynb", "mine"))
    (cell,) = document.cells
    assert cell.outputs[0].data["text/plain"] == "(False, 'yes')"


def test_a_kernel_is_reached_by_no_network_and_leaves_no_socket(lean, tmp_path, capfd):
    told = "from ipykernel.connect import get_connection_info; print(get_connection_info())"
    path = tmp_path / "asks.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(told)]), path)
    with executing(lean.uri) as execute:
        (output,) = execute(path).cells[0].outputs
        connection = json.loads(output["text"])
        folder = Path(connection["ip"]).parent
        assert connection["transport"] == "ipc" and folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    assert capfd.readouterr().err == ""
