from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from mia_core.attacks import ATTACKS
from mia_core.data import Pool, load_pool
from mia_core.data.fashion_mnist import DEBIAN
from mia_core.targets import DCGAN, shaped
from study.design.study_design import Design
from study.run.search import begun
from study.spec.study_file import read
from study.store import Store

ARMS = {
    "digits": {"none", "dropout", "dp_sgd"},
    "fashion_mnist": {"none", "dropout", "dp_sgd"},
    "targets_digits": {"none", "dropout", "weight_norm", "noise_layer", "dp_sgd"},
    "targets_fashion_mnist": {"none"},
    "privacy_digits": {"none", "real_weight", "dp_sgd"},
    "sensitivity_digits": {"none"},
    "search_digits": {"none", "dropout"},
    "attacks_digits": {"none"},
    "attacks_fashion_mnist": {"none"},
    "derived_digits": {"none"},
    "derived_fashion_mnist": {"none"},
    "diffusion_digits": {"none"},
    "diffusion_private_digits": {"none", "dp_sgd"},
    "diffusion_private_fashion_mnist": {"none", "dp_sgd"},
    "diffusion_fashion_mnist": {"none"},
}
LONGEST = {
    "digits": 150, "fashion_mnist": 160, "targets_digits": 150, "targets_fashion_mnist": 80, "privacy_digits": 150,
    "sensitivity_digits": 80, "search_digits": 120, "attacks_digits": 150, "attacks_fashion_mnist": 80,
    "derived_digits": 150, "derived_fashion_mnist": 80, "diffusion_digits": 240, "diffusion_private_digits": 120,
    "diffusion_fashion_mnist": 80, "diffusion_private_fashion_mnist": 120,
}  # fmt: skip

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
LOGAN = [path for path in CONFIGS if path.stem.startswith("logan_")]
SECMI = [path for path in CONFIGS if path.stem.startswith("secmi_")]
LIKE_LOGAN = [path for path in CONFIGS if path.stem == "diffusion_cifar10"]
LFW_PHOTOGRAPHS = [530, 236, 144, 121, 109, 77, 71, 60, 55, 53]  # of the ten most frequent identities


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_states_its_purpose_command_time_and_expectation(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("Purpose:", "Command:", "Time:", "Expect:"):
        assert any(line.startswith(f"# {word}") for line in header), word


@lru_cache(maxsize=2)
def stand_in(name, size):
    """Noise in the sizes and groups of a data set that is not at hand: what a plan depends on."""
    groups = {
        "lfw": np.repeat(np.arange(10), LFW_PHOTOGRAPHS),
        "cifar10": np.arange(60_000),
        "retinopathy": np.arange(6_873) * 2 // 3,  # grades 2 to 4 in trainLabels.csv; some patients with both eyes
    }[name]
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (len(groups), 3, size, size), dtype=np.uint8)
    return Pool(name, images, groups if name == "lfw" else random.integers(2, 10, len(groups)), groups)


pool_of = lru_cache(maxsize=4)(load_pool)
"""Records at hand; one pool for all studies of the same."""


@pytest.mark.long
@pytest.mark.parametrize("path", LOGAN, ids=lambda path: path.stem)
def test_the_papers_studies_plan_in_full_on_data_of_their_size(path):
    spec = read(path)
    design = Design(spec, stand_in(spec.data.name, spec.data.config.size))
    assert spec.replicates >= 5
    assert {cell.target.name for cell in design.cells} == {"dcgan", "vae_gan", "began"}
    if path.stem == "logan_defenses":
        assert {cell.arm.defense for cell in design.cells} == ARMS["targets_digits"]
        return
    assert spec.split.name == "logan"
    pool = len(design.split.membership(0, min(spec.train_sizes)).queries) + 2 * spec.split.config.known
    shares = np.array(spec.train_sizes) / pool
    np.testing.assert_allclose(shares, [0.1, 0.3, 0.5, 0.7, 0.9], atol=0.02)
    attacks = {wanted.label for trial in design.trials for wanted in trial.attacks}
    assert {f"local_gan_{side}{percent}_steps5000" for side in ("members", "non_members", "known") for percent in
            (10, 20, 30)} <= attacks  # fmt: skip
    assert {"white_box", "euclidean", "random", "local_gan_steps15000", "discriminative_members30_steps1000"} <= attacks


@pytest.mark.long
@pytest.mark.parametrize("path", SECMI, ids=lambda path: path.stem)
def test_secmis_study_trains_its_diffusion_model_on_a_random_half(path):
    spec = read(path)
    design = Design(spec, stand_in(spec.data.name, spec.data.config.size))
    (cell,) = design.cells
    assert spec.replicates >= 5
    assert cell.train_size == 25_000
    network = shaped(cell.target, (3, 32, 32)).denoiser
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(35.7e6, rel=0.01), "the authors' size"


@pytest.mark.parametrize("path", LIKE_LOGAN, ids=lambda path: path.stem)
def test_a_vae_and_a_diffusion_model_are_studied_as_logan_did(path):
    spec = read(path)
    design = Design(spec, stand_in(spec.data.name, spec.data.config.size))
    assert spec.replicates >= 5 and spec.split.name == "logan"
    assert {cell.target.name for cell in design.cells} == {"vae", "ddpm"}
    pool = len(design.split.membership(0, min(spec.train_sizes)).queries)
    np.testing.assert_allclose(np.array(spec.train_sizes) / pool, [0.1, 0.5], atol=0.02)


@pytest.mark.parametrize("path", [*LOGAN, *SECMI, *LIKE_LOGAN], ids=lambda path: path.stem)
def test_the_papers_studies_have_a_quick_preset_on_data_at_hand(path):
    full, spec = read(path), read(path, preset="quick")
    if spec.data.name == "fashion_mnist" and not DEBIAN.is_dir():
        pytest.skip("needs Debian's dataset-fashion-mnist")
    design = Design(spec, pool_of(spec.data))
    assert spec.study == f"{full.study}_quick"
    assert spec.split.name == full.split.name
    assert {cell.target.name for cell in design.cells} == {cell.target.name for cell in full.cells}
    assert {entry.label for entry in spec.attacks} == {entry.label for entry in full.attacks}


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if path not in (*LOGAN, *SECMI, *LIKE_LOGAN)], ids=lambda path: path.stem
)
def test_every_config_makes_a_whole_design(path, tmp_path):
    if "fashion_mnist" in path.stem and not DEBIAN.is_dir():
        pytest.skip("needs Debian's dataset-fashion-mnist")
    spec = read(path)
    spec = begun(spec, Store(tmp_path, spec.study))
    design = Design(spec, pool_of(spec.data))
    assert len(design.trials) == sum(len(cell.levels) for cell in design.cells) * spec.replicates
    assert len(spec.cells) - len(design.cells) == len(design.refused) * len(spec.train_sizes)
    assert {trial.cell.arm.defense for trial in design.trials} == ARMS[path.stem]
    assert spec.replicates >= (2 if spec.points else 5), "drawn points repeat each other's factors"
    assert LONGEST[path.stem] == (max(spec.factors.bounds("epochs")) if spec.points else max(spec.levels))
    assert not design.no_control
    published = {cell.label for cell in design.cells if cell.target.cls.is_published(cell.target.config)}
    always = "ddpm" if path.stem.startswith("diffusion_private") else "dcgan"
    assert {always} <= published <= {"dcgan", "vae_gan", "began", "wgan_gp", "vae", "ddpm"}, (
        "the network that people train is always a row"
    )
    queries, fitted_on = design.split.membership(0, min(spec.train_sizes)).queries, design.split.never_members
    assert np.isin(queries, np.union1d(design.split.judged, fitted_on)).all()
    assert len(fitted_on) == (200 if path.stem.startswith("derived_") else 0), "only for quantile regression"
    coins = {"privacy_digits": 160, "derived_digits": 140, "derived_fashion_mnist": 280}
    coins |= {"diffusion_digits": 180, "diffusion_private_digits": 180, "diffusion_fashion_mnist": 360}
    coins |= {"diffusion_private_fashion_mnist": 360}
    assert len(design.split.coins) == coins.get(path.stem, 0), "only these studies have fair coins"


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem.startswith("attacks_")], ids=lambda p: p.stem)
@pytest.mark.parametrize("preset", [None, "quick"])
def test_the_studies_of_attacks_have_them_all_and_skip_none(path, preset):
    if "fashion_mnist" in path.stem and not DEBIAN.is_dir():
        pytest.skip("needs Debian's dataset-fashion-mnist")
    spec = read(path, preset=preset)
    design = Design(spec, pool_of(spec.data))
    fitting = {name for name in ATTACKS.names() if ATTACKS.choose(name).build().uses <= DCGAN.offers}
    assert {entry.choice.name for entry in spec.attacks} == fitting - {"discriminative"}
    assert {cell.target.name for cell in design.cells} == {"dcgan", "vae_gan", "wgan_gp"}
    last = [trial for trial in design.trials if trial.level == max(spec.levels)]
    assert all(item.skipped is None for trial in last for item in trial.attacks)
    for attack in ("euclidean", "nearest_pca", "monte_carlo_hog", "domias", "gen_lra"):
        labels = {f"{attack}_generated{number}" for number in (100, 1000, 10000)}
        assert labels <= {item.label for item in last[0].attacks}


def test_the_audit_of_every_commit_is_of_a_quick_study_with_fair_coins():
    (path,) = (path for path in CONFIGS if path.stem == "privacy_digits")
    spec = read(path, preset="quick")
    design = Design(spec, pool_of(spec.data))
    assert spec.study == "privacy_digits_quick"
    assert len(design.split.coins) == 160
    assert {trial.role for trial in design.controls} >= {"canary", "blind", "null", "copycat"}
    assert any(trial.cell.arm.delta for trial in design.trials)
