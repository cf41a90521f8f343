import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from analysis import figures
from analysis.controls import attack_minus_blind, verdicts
from analysis.notebooks.__main__ import FOLDER, execute, main
from analysis.study_data import load
from analysis.summary import effects_of, guarantees, overview
from study.store import read

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_are_notebooks():
    assert [path.name for path in NOTEBOOKS] == ["01_sensitivity.ipynb", "04_private_training.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_on_a_real_small_study_and_show_pictures_and_tables(path, swept):
    document = execute(path, swept[0] / "results" / "small")
    kinds = [kind for cell in document.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]
    pictures, tables = {"01_sensitivity": (3, 7), "04_private_training": (1, 5)}[path.stem]
    assert kinds.count("image/png") == pictures
    assert kinds.count("text/html") >= tables
    assert not [
        output for cell in document.cells for output in cell.get("outputs", []) if output.output_type == "error"
    ]


def test_the_command_writes_pages_beside_the_study(swept, tmp_path, capsys):
    folder = shutil.copytree(swept[0] / "results" / "small", tmp_path / "small")
    assert main([str(folder)]) == 0
    said = capsys.readouterr().out
    for notebook in NOTEBOOKS:
        page = folder / "reports" / f"{notebook.stem}.html"
        assert str(page) in said
        assert "image/png" in page.read_text()


def test_the_figures_command_writes_pictures(swept, tmp_path):
    command = [sys.executable, "-m", "analysis.figures", str(swept[0] / "results" / "small"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MPLBACKEND": "Agg"}, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "leakage_over_epochs.png", "leakage_against_quality.png", "against_epsilon.png", "attacks_compared.png",
    }  # fmt: skip


def test_a_folder_without_a_study_is_refused_in_one_line(tmp_path, capsys):
    for command in (main, lambda arguments: figures.main([*arguments, str(tmp_path)])):
        assert command([str(tmp_path / "absent")]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_controls_are_shown_and_what_attacks_find_beyond_the_blind_classifier(swept):
    study = load(swept[0] / "results" / "small")
    assert set(verdicts(study)["control"]) == {"blind", "null", "copycat"}
    table = attack_minus_blind(study)
    assert len(table) == 4 * 3 * 2
    assert table["descriptive"].all()
    wide = read(swept[0] / "results", "small", "wide")
    blind = wide[wide["role"] == "blind"].set_index("replicate")["auc"]
    rows = wide[(wide["role"] == "study") & (wide["epochs"] == 2) & (wide["attack"] == "white_box")]
    rows = rows[(rows["train_size"] == 80) & (rows["defense"] == "none")].set_index("replicate")
    found = table[(table["attack"] == "white_box") & (table["arm"] == "none") & (table["train_size"] == 80)]
    assert found["difference"].item() == pytest.approx((rows["auc"] - blind).mean())
    assert found["blind"].item() == pytest.approx(blind.mean())


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
