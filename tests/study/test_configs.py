from pathlib import Path

import pytest

from mia_core.data import load_pool
from mia_core.data.fashion_mnist import DEBIAN
from study.design import Design
from study.spec import read

ARMS = {
    "digits": {"none", "dropout", "dp_sgd"},
    "fashion_mnist": {"none", "dropout", "dp_sgd"},
    "targets_digits": {"none", "dropout", "weight_norm", "noise_layer", "dp_sgd"},
    "targets_fashion_mnist": {"none"},
}
LONGEST = {"digits": 150, "fashion_mnist": 160, "targets_digits": 150, "targets_fashion_mnist": 80}

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_states_its_purpose_command_time_and_expectation(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("Purpose:", "Command:", "Time:", "Expect:"):
        assert any(line.startswith(f"# {word}") for line in header), word


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_makes_a_whole_design(path):
    if "fashion_mnist" in path.stem and not DEBIAN.is_dir():
        pytest.skip("needs Debian's dataset-fashion-mnist")
    spec = read(path)
    design = Design(spec, load_pool(spec.data))
    assert len(design.trials) == len(design.cells) * len(spec.epochs) * spec.replicates
    assert len(spec.cells) - len(design.cells) == len(design.refused) * len(spec.train_sizes)
    assert {trial.cell.arm.defense for trial in design.trials} == ARMS[path.stem]
    assert spec.replicates >= 5
    assert max(spec.epochs) == LONGEST[path.stem]
    assert not design.no_control
