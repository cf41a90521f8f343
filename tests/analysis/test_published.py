"""A study with the published network and one that every arm can have: where its verdict starts, what it compares."""

import pandas as pd
import pytest

from analysis.checks import cautions
from analysis.report.headline import verdict
from analysis.stats.declared import declared
from analysis.study_data import ARM, VARIANT, load
from tests.analysis.synthetic import write_store

NORMS = (
    "target=~",
    "factors.target=[{name: dcgan, label: grouped, width: 4, latent: 8}, "
    "{name: dcgan, width: 4, latent: 8, norm: batch, arms: none}]",
    "factors.defense=[none, dropout]",
    "factors.epochs=[2]",
)
GAINS = {("dcgan", "none"): 2.5, ("grouped", "none"): 0.8, ("grouped", "dropout"): 0.0}
SOUND = pd.DataFrame({"control": ["null"], "attack": ["white_box"], "ok": pd.array([True], "boolean")})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("norms")
    gain = lambda trial: GAINS[trial.cell.label, trial.cell.arm.defense]  # noqa: E731
    return load(write_store(root, gain, overrides=("replicates=10", *NORMS)))


@pytest.fixture(scope="module")
def found(data):
    return verdict(data, SOUND, pd.DataFrame())


def words(sentence):
    return "".join(part if isinstance(part, str) else part.text for part in sentence)


def test_rows_and_variants_have_labels(data):
    assert set(data.wide["target"]) == set(data.variants) == {"dcgan", "grouped"}
    assert data.published == ["dcgan"]
    assert data.apart("grouped", "dcgan") == "norm group instead of batch"


def test_the_verdict_starts_at_the_published_network_wherever_it_stands(data, found):
    assert data.variants[0] == "grouped"
    assert (found.cell[VARIANT], found.cell[ARM]) == ("dcgan", "none")
    assert (found.base[VARIANT], found.base[ARM]) == ("grouped", "none")
    assert found.start.value > 0.9
    assert "dcgan was trained with n = 40 for 2 epochs without a defense" in words(found.sentences[0])


def test_what_the_norm_changes_is_said_in_words_and_no_defense_is_compared_with_another_network(found):
    said = [words(sentence) for sentence in found.sentences]
    assert "norm group instead of batch (grouped) lowers it to" in said[1].lower()
    assert said[2].startswith("Defenses were compared on grouped, n = 40, where without one that probability is")
    change = next(change for change in found.changes if change.factor == ARM)
    assert change.cell == found.base
    assert -0.35 < change.by.value < -0.1, "dropout takes away what group norm leaves, and not the difference of norms"


def test_the_norm_is_a_declared_contrast_corrected_with_the_others(data, found):
    table = declared(data)
    norms = table[table["factor"] == VARIANT]
    assert list(zip(norms["level"], norms["baseline"], norms["train_size"], strict=True)) == [
        ("grouped", "dcgan", 40),
        ("grouped", "dcgan", 80),
    ]
    assert (norms["effect"] < -0.1).all()
    assert norms["settled"].all()
    assert (norms[ARM] == "none").all()
    change = next(change for change in found.changes if change.factor == VARIANT)
    assert change.p_holm == pytest.approx(norms["p_holm"].iloc[0])


def test_a_study_without_the_published_network_is_cautioned(data, tmp_path):
    assert not [text for text in cautions(data, SOUND, pd.DataFrame()) if "published" in text]
    few = ("replicates=1", "factors.epochs=[1]", "factors.train_size=[40]", "factors.defense=[none]")
    alone = load(write_store(tmp_path, lambda trial: 1.0, overrides=few))
    (caution,) = [text for text in cautions(alone, SOUND, pd.DataFrame()) if "published" in text]
    assert caution.startswith("dcgan is not the published network (norm: batch), which may leak more")
