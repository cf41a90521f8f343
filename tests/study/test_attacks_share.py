"""What attacks of a study compute once: what they prepare from their knowledge, and a trial's distances."""

import numpy as np
import pytest
import torch

import mia_core
from mia_core.attacks import Domias, Nearest
from mia_core.distances import Search
from mia_core.models import SampleFolder, Snapshot
from mia_core.streams import Streams
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.run.feature_spaces import feature_network
from study.run.runner import Runner
from study.store import read
from tests.study.designs import wanted_attacks

ATTACKS = (
    "attacks=[{name: euclidean, generated: [20, 64]}, {name: nearest, space: [pca, features], generated: [20, 64]}, "
    "{name: monte_carlo, generated: [20, 64]}, {name: domias, components: 4, generated: [20, 64]}, "
    "{name: gen_lra, components: 4, generated: [20, 64]}, {name: latent, generated: 64, steps: 2}]"
)
SMALL = ("factors.epochs=[1, 2]", "quality.measures=[]", "split.reference=70")


def test_an_attack_in_features_has_the_extractors_recipe_in_its_ids_and_no_other_has(make_design):
    first, other = (
        wanted_attacks(make_design(ATTACKS)),
        wanted_attacks(make_design(ATTACKS, "quality.extractor.steps=21")),
    )
    changed = {label for label in first if first[label].attack_id != other[label].attack_id}
    assert changed == {"nearest_features_generated20", "nearest_features_generated64", "latent"}
    assert first["latent"].knowledge == "extractor"
    assert first["gen_lra_generated20"].knowledge == "reference"


def test_an_attack_in_features_is_skipped_where_reference_records_train_no_extractor(make_design):
    design = make_design(ATTACKS, "quality.measures=[]", "quality.extractor.features=5000")
    found = {item.label.partition("_generated")[0]: item.skipped for item in design.trials[0].attacks}
    count = len(design.split.reference)
    reason = f"the extractor of reference records needs 10000 labelled records of at least 2 classes, got {count} of 10"
    features = {"nearest_features", "latent"}
    assert found == {name: reason if name in features else None for name in found}


@pytest.fixture
def searches(monkeypatch):
    """The sizes [Q,N,D] of all searches that were begun."""
    made, plain = [], Search.__init__

    def spy(self, x, y, *bounds):
        made.append((len(x), len(y), x.shape[1]))
        plain(self, x, y, *bounds)

    monkeypatch.setattr(Search, "__init__", spy)
    return made


def test_a_study_prepares_once_and_a_trial_searches_each_space_once(make_design, store, monkeypatch, searches):
    prepared = []
    for cls in (Nearest, Domias):
        plain = cls.prepare
        monkeypatch.setattr(
            cls, "prepare", lambda self, known, plain=plain: prepared.append(self.name) or plain(self, known)
        )
    design = make_design(ATTACKS, *SMALL, "factors.defense=none", "controls.nulls=0")
    trials = next(iter(design.trajectories.values()))
    (first, last) = (sealed for sealed in Runner(design, store).run(_works(design, store, trials)))
    assert first.failed == last.failed == {}
    assert sorted(prepared) == ["domias", "nearest", "nearest"], "pca and features, for two trials with two levels"
    queries = len(design.membership(trials[0]).queries)
    pixels = design.pool.images[0].size
    of_queries = [size for size in searches if size[0] == queries]
    assert len(of_queries) == 2 * 4, "pixels, PCA of 40 and of 4 components, features"
    assert of_queries.count((queries, 64, pixels)) == 2, "also for the starts of latent searches"
    assert len(searches) == 2 * 5, "and of reference records, for Monte Carlo's radius"


def test_scores_of_a_study_are_those_of_the_front_door(make_design, store):
    design = make_design(ATTACKS, *SMALL, "factors.defense=none", "controls.nulls=0")
    trials = next(iter(design.trajectories.values()))
    runner = Runner(design, store)
    list(runner.run(_works(design, store, trials)))
    trial = trials[-1]
    target = trial.cell.target.build(design.pool.image_shape)
    target.load_state_dict(store.sealed_tensors(f"targets/{trial.trial_id}", trial.trial_id)[0])
    snapshot = Snapshot(target, Streams("samples", design.spec.seed, trial.replicate))
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})
    scores = read(store.folder.parent, design.spec.study, "scores")
    queries = design.pool.images[design.membership(trial).queries]
    reference = design.pool.images[design.split.reference]
    for label, spec, known in (
        ("nearest_pca_generated64", {"name": "nearest", "generated": 64}, {"reference": reference}),
        ("gen_lra_generated64", {"name": "gen_lra", "generated": 64, "components": 4}, {"reference": reference}),
        (
            "nearest_features_generated64",
            {"name": "nearest", "space": "features", "generated": 64},
            {"extractor": feature_network(design, store)[0]},
        ),
    ):
        found = scores[
            (scores.trial_id == trial.trial_id) & (scores.attack_id == wanted_attacks(design)[label].attack_id)
        ]
        expected = mia_core.attack(SampleFolder(snapshot.samples(64)), queries, spec, **known)
        np.testing.assert_allclose(found.score, expected, rtol=1e-5)


def _works(design: Design, store, trials):
    from study.design.work import missing_of

    return missing_of(trials, store)


def test_the_front_door_takes_an_extractor_where_the_attack_needs_one(make_design):
    images = np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8), dtype=np.uint8)
    spec = {"name": "nearest", "space": "features", "generated": 20}
    found = mia_core.attack(SampleFolder(images[:20]), images, spec, extractor=lambda x: x.flatten(1)[:, :9])
    assert torch.equal(found[:20], torch.zeros(20))
    assert (found[20:] < 0).all()
    with pytest.raises(ValueError, match="nearest needs extractor"):
        mia_core.attack(SampleFolder(images[:20]), images, spec)
    with pytest.raises(ValueError, match="euclidean as it is set does not use extractor"):
        mia_core.attack(SampleFolder(images), images, {"name": "euclidean", "generated": 5}, extractor=torch.sin)
