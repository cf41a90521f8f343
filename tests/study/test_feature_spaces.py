"""Samples and records as points: what all trials compare with is computed once, and gives the same values."""

import pytest
import torch

from mia_core.metrics import Extractor
from mia_core.models import SampleFolder
from study.run import feature_spaces
from study.run.feature_spaces import KEPT
from study.run.measuring import QualityMeasuring

MEASURES = ("quality.measures=[kid, coverage, extracted_members, authenticity, synthetic_accuracy]", "split.unseen=150")


@pytest.fixture
def design(make_design):
    return make_design(*MEASURES, "quality.samples=140", "quality.copies.extractors=[domain]", "factors.epochs=[1, 2]")


@pytest.fixture
def counts(monkeypatch):
    """Of the images whose features were asked for, call by call."""
    found = []
    features = Extractor.features
    monkeypatch.setattr(Extractor, "features", lambda self, x: found.append(len(x)) or features(self, x))
    return found


def samples_for(design, trial, seed):
    shape = (140, *design.pool.image_shape)
    return SampleFolder(torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1)


def levels(design):
    """Two trials of one trajectory."""
    first, second, *_ = (t for t in design.trials if t.trajectory_id == design.trials[0].trajectory_id)
    return first, second


def values(rows):
    return {(row.trial_id, row.measure_id): row.value for row in rows}


def test_features_of_records_are_computed_once_for_all_levels_and_of_samples_once_a_trial(design, store, counts):
    measuring = QualityMeasuring(design, store)
    measuring.spaces.network  # noqa: B018  training it asks for features too
    del counts[:]
    first, second = levels(design)
    members = len(design.membership(first).train)
    compared = [len(design.measures.records(a, first.replicate, first.cell.train_size)) for a in ("members", "unseen")]
    measuring.measure(first, first.measures, samples_for(design, first, 0))
    sets = [members, len(design.split.unseen), len(design.split.reference), *compared]
    assert sorted(counts) == sorted([140, *sets])
    assert len(sets) == KEPT
    del counts[:]
    measuring.measure(second, second.measures, samples_for(design, second, 1))
    assert counts == [140]


def test_what_was_kept_changes_no_value(design, store):
    first, second = levels(design)
    measuring = QualityMeasuring(design, store)
    after = [
        values(measuring.measure(t, t.measures, samples_for(design, t, i)).rows) for i, t in enumerate((first, second))
    ]
    for i, trial in enumerate((first, second)):
        alone = QualityMeasuring(design, store).measure(trial, trial.measures, samples_for(design, trial, i)).rows
        assert values(alone) == after[i]


def test_the_sets_that_were_asked_for_last_are_kept_unless_they_are_large(design, store, counts, monkeypatch):
    spaces = QualityMeasuring(design, store).spaces
    sets = [design.split.unseen[start:] for start in range(KEPT + 1)]

    def computed(*asked):
        spaces.network  # noqa: B018
        del counts[:]
        for records in asked:
            spaces.of_records("domain", records)
        return counts

    assert computed(*sets[:KEPT], *sets[:KEPT]) == [len(records) for records in sets[:KEPT]]
    assert computed(sets[0], sets[KEPT], sets[0], sets[1]) == [len(sets[KEPT]), len(sets[1])]
    monkeypatch.setattr(feature_spaces, "KEPT_BYTES", 1)
    assert computed(sets[2], sets[2]) == 2 * [len(sets[2])]
