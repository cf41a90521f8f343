"""Measures that a study has if it names them: extraction, authenticity, and training on samples."""

import json

import pytest
import torch

from mia_core.errors import Refused
from mia_core.metrics.authenticity import authenticity
from mia_core.metrics.extraction import extract
from mia_core.models import SampleFolder
from study.run.measuring import QualityMeasuring
from tests.small import small_spec

NAMED = ("extracted_members", "extraction_precision", "authenticity", "synthetic_accuracy")
MEASURES = f"quality.measures=[{', '.join(NAMED)}]"


@pytest.fixture
def measured(make_design, store):
    """Rows by label of a trial whose model replays its members, each four times."""
    design = make_design(MEASURES, "split.unseen=150", "quality.samples=160")
    trial = design.trials[0]
    members = design.membership(trial).train
    samples = torch.from_numpy(design.pool.images[members]).float() / 127.5 - 1
    model = SampleFolder(samples[:40].repeat(4, 1, 1, 1))
    rows = QualityMeasuring(design, store).measure(trial, trial.measures, model).rows
    return design, {(row.measure, row.extractor): row for row in rows}


def test_a_model_that_replays_members_is_found_out_in_pixels_and_features(measured):
    design, rows = measured
    assert set(rows) == {(name, space) for name in NAMED[:3] for space in ("pixels", "domain")} | {
        ("synthetic_accuracy", "domain")
    }
    for space in ("pixels", "domain"):
        assert rows["extracted_members", space].value >= 35  # members of one group count once
        assert rows["extraction_precision", space].value == 1
        assert rows["authenticity", space].value == 0
    assert 0.3 < rows["synthetic_accuracy", "domain"].value <= 1
    assert json.loads(rows["extracted_members", "pixels"].arguments) == {
        "samples": 160, "alpha": 0.01, "repeats": 3, "unseen": 150, "unseen_persons": 150,
    }  # fmt: skip
    assert {wanted.label for wanted in design.measures.wanted} == set(design.spec.quality.labels)


def test_the_number_of_repeats_is_part_of_the_id_and_of_the_answer(make_design):
    three, four = (make_design(MEASURES, "split.unseen=150", *more) for more in ((), ("quality.copies.repeats=4",)))
    ids = [{wanted.label: wanted.measure_id for wanted in one.measures.wanted} for one in (three, four)]
    changed = {label for label in ids[0] if ids[0][label] != ids[1][label]}
    assert changed == {label for label in ids[0] if label.startswith("extract")}


def test_measures_that_are_not_named_change_no_id(make_design):
    plain, named = make_design(), make_design("quality.measures=[kid, authenticity]")
    assert "repeats" not in plain.spec.resolved["quality"].get("copies", {})
    ids = [{wanted.label: wanted.measure_id for wanted in one.measures.wanted} for one in (plain, named)]
    assert ids[0]["kid_unseen"] == ids[1]["kid_unseen"]
    assert not any(label.startswith(NAMED) for label in ids[0])


def test_too_few_unseen_persons_are_a_reason_and_no_number(make_design):
    design = make_design(MEASURES)
    assert "takes 99 unseen records" in design.measures.no_extraction
    assert not [wanted for wanted in design.measures.wanted if wanted.name.startswith("extract")]


def test_a_measure_that_there_is_not_is_refused():
    with pytest.raises(Refused, match="unknown word 'authentic'; did you mean 'authenticity'"):
        small_spec("quality.measures=[authentic]")


def test_the_values_are_those_of_the_functions(measured):
    design, rows = measured
    pool, trial = design.pool, design.trials[0]
    members, unseen = design.membership(trial).train, design.split.unseen
    real, fresh = (torch.from_numpy(pool.images[part]).float().flatten(1) / 127.5 - 1 for part in (members, unseen))
    fake = real[:40].repeat(4, 1)
    found = extract(fake, real, fresh, pool.units[unseen], 0.01)
    assert rows["extracted_members", "pixels"].value == found.extracted_members
    assert rows["authenticity", "pixels"].value == authenticity(fake, real)
