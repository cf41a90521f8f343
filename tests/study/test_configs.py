from pathlib import Path

import pytest

from mia_core.data import load_pool
from mia_core.data.fashion_mnist import DEBIAN
from study.design import Design
from study.spec import read

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_states_its_purpose_command_time_and_expectation(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("Purpose:", "Command:", "Time:", "Expect:"):
        assert any(line.startswith(f"# {word}") for line in header), word


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_makes_a_whole_design(path):
    if path.stem == "fashion_mnist" and not DEBIAN.is_dir():
        pytest.skip("needs Debian's dataset-fashion-mnist")
    spec = read(path)
    design = Design(spec, load_pool(spec.data))
    assert len(design.trials) == len(spec.cells) * len(spec.epochs) * spec.replicates
    assert {trial.cell.arm.defense for trial in design.trials} >= {"none", "dropout", "dp_sgd"}
    assert spec.replicates >= 5
    assert max(spec.epochs) >= 150
