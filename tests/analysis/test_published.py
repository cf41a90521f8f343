"""A study with the published network and one that every arm can have: where its verdict starts, what it compares."""

import pandas as pd
import pytest

from analysis.checks import cautions
from analysis.report.headline import verdict
from analysis.stats.declared import declared
from analysis.study_data import ARM, VARIANT, load
from mia_core.data import load_pool
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.plan.spread import family
from study.store import Store
from tests.analysis.synthetic import write_store
from tests.analysis.visible import words_of
from tests.small import small_spec

pytestmark = pytest.mark.long

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


def test_rows_and_variants_have_labels(data):
    assert set(data.wide["target"]) == set(data.variants) == {"dcgan", "grouped"}
    assert data.published == ["dcgan"]
    assert data.apart("grouped", "dcgan") == "norm group instead of batch"


def test_the_verdict_starts_at_the_published_network_wherever_it_stands(data, found):
    assert data.variants[0] == "grouped"
    assert (found.cell[VARIANT], found.cell[ARM]) == ("dcgan", "none")
    assert (found.base[VARIANT], found.base[ARM]) == ("grouped", "none")
    assert found.start.value > 0.9
    assert "dcgan was trained with n = 40 for 2 epochs without a defense" in words_of(found.sentences[0])


def test_what_the_norm_changes_is_said_in_words_and_no_defense_is_compared_with_another_network(found):
    said = [words_of(sentence) for sentence in found.sentences]
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


RENAMED = "factors.target.grouped.label=other"
SWAPPED = (
    "factors.target=[{name: dcgan, width: 4, latent: 8}, "
    "{name: dcgan, label: grouped, width: 4, latent: 8, norm: batch, arms: none}]"
)


@pytest.mark.parametrize(("change", "labels"), [(RENAMED, ("other", "dcgan")), (SWAPPED, ("dcgan", "grouped"))])
def test_what_was_declared_is_of_networks_and_not_of_their_labels(tmp_path, change, labels):
    gain = lambda trial: GAINS[trial.cell.label, trial.cell.arm.defense]  # noqa: E731
    settings = ("attacks=[white_box]", "quality.measures=[kid]", "quality.against=[unseen]", "replicates=10", *NORMS)
    uri = write_store(tmp_path, gain, overrides=settings[3:])
    before = declared(load(uri))
    store, spec = Store.at(uri), small_spec(*settings, change)
    design = Design(spec, load_pool(spec.data))
    store.publish(design.hash, spec.resolved, design_rows(design), {})
    data = load(uri)
    after = declared(data)
    assert len(after) == len(before) == family(design, store)
    norms = after[after["factor"] == VARIANT]
    assert set(zip(norms["level"], norms["baseline"], strict=True)) == {labels}
    assert list(norms["effect"]) == list(before.loc[before["factor"] == VARIANT, "effect"]), "group less batch, still"
    assert list(after["p_holm"]) == list(before["p_holm"]), "and another label is no look"


def test_a_network_that_is_added_after_a_look_declares_nothing(tmp_path):
    few = ("replicates=3", "factors.epochs=[2]", "factors.defense=[none, dropout]")
    uri = write_store(tmp_path, lambda trial: 1.0, overrides=few)
    before = declared(load(uri))
    further = ("attacks=[white_box]", "quality.measures=[kid]", "quality.against=[unseen]", *few, *NORMS[:2])
    store, spec = Store.at(uri), small_spec(*further)
    design = Design(spec, load_pool(spec.data))
    store.publish(design.hash, spec.resolved, design_rows(design), {})
    after = declared(load(uri))
    assert list(after["contrast"]) == list(before["contrast"])
    assert family(design, store) == len(before)


def test_no_control_arm_is_recommended(found, data, monkeypatch):
    text = words_of(found.sentences[2])
    assert "use dropout" in text
    with monkeypatch.context() as patch:
        patch.setattr(type(data), "control_arms", frozenset(data.arms[1:]))
        alone = verdict(data, SOUND, pd.DataFrame())
        assert words_of(alone.sentences[2]) == "No defense was compared."
        assert alone.base == alone.cell
