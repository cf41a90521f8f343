import json

import pytest

from study.spec import parse, read
from tests.small import SMALL, small_spec

REFUSED = {
    "factors.train_sise=[100]": "did you mean 'train_size'?",
    "train_size=100": "did you mean 'factors.train_size'?",
    "factors.train_size=[0]": "whole numbers from 1, got 0",
    "factors.train_size=[40, 40]": "'40' is there twice",
    "factors.epochs=[1.5]": "whole numbers from 1, got 1.5",
    "factors.epochs=[true]": "whole numbers from 1, got True",
    "factors.epochs=[]": "at least one level",
    "factors.defense=[{name: dropuot}]": "did you mean 'dropout'?",
    "factors.defense=[none, none]": "twice",
    "factors.defense=[[none, dropout]]": "`none` stands alone",
    "factors.defense=[{name: dropout, rate: 1.0}]": "less than 1",
    "factors.defense=[{name: dp_sgd, sigma: 1.0, clip: 1.0}]": "delta: required, and missing",
    "factors.target.widht=[4, 8]": "did you mean 'width'?",
    "attacks.white_box.foo=1": "unknown key",
    "attacks.whitebox.foo=1": "did you mean 'white_box'?",
    "attacks=[white_bx]": "did you mean 'white_box'?",
    "attacks=[white_box, white_box]": "give each its own `label:`",
    "attacks=[3]": "attacks[0].label: 3",
    "attacks=[{label: x}]": "expected a name or a mapping with a name",
    "factors.target=[dcgan]": "not as both",
    "target=~": "target: required",
    "attacks.local_gan.at={epochs: 7}": "7 is not a level of factors.epochs",
    "attacks.local_gan.steps=[4, 2]": "levels must ascend",
    "attacks.local_gan.surrogate={name: dcgn}": "did you mean 'dcgan'?",
    "data=digts": "did you mean 'digits'?",
    "data.sise=16": "did you mean 'size'?",
    "split.panel=true": "valid integer",
    "split.name=panle": "did you mean 'panel'?",
    "targt=dcgan": "did you mean 'target'?",
    "target.width=wide": "valid integer",
    "training.batchsize=3": "did you mean 'batch_size'?",
    "training.learning_rate='1'": "valid number",
    "quality.samples=1.5": "valid integer",
    "quality.measures=[kidd]": "did you mean 'kid'?",
    "quality.extractor.widht=2": "did you mean 'width'?",
    "controls.blnd=false": "did you mean 'blind'?",
    "controls.nulls=-1": "greater than or equal to 0",
    "controls.permutations=9": "greater than or equal to 99",
    "compute.gpus_per_trial=2": "less than or equal to 1",
    "replicates=0": "greater than 0",
    "study=../elsewhere": "letters, digits",
    "keep_targets=some": "'all' or 'none'",
    "novalue": "expected key=value",
    "seed=[": "--set seed",
}


@pytest.mark.parametrize("override", REFUSED)
def test_a_wrong_setting_is_refused_in_one_line_that_names_it(override):
    with pytest.raises(ValueError) as error:
        small_spec(override)
    assert REFUSED[override] in str(error.value)
    assert "\n" not in str(error.value)


def test_the_resolved_spec_reads_back_as_the_same_study():
    spec = small_spec()
    assert parse(json.loads(json.dumps(spec.resolved))).resolved == spec.resolved


def test_places_and_compute_are_no_part_of_the_resolved_spec():
    spec = small_spec("results=elsewhere", "tracking=http://user:secret@host", "compute.retries=1")
    assert spec.resolved == small_spec().resolved
    assert "secret" not in json.dumps(spec.resolved)


def test_an_integer_and_its_float_are_one_study():
    assert small_spec("training.learning_rate=1").resolved == small_spec("training.learning_rate=1.0").resolved


def test_lists_in_an_arm_and_dotted_factors_make_cells():
    spec = small_spec(
        "factors.defense=[none, {name: dp_sgd, sigma: [0.0, 1.0], clip: 1.0, delta: 1e-5}]",
        "factors.target.width=[4, 8]",
    )
    assert [cell.arm.label for cell in spec.cells[:3]] == ["none", "dp_sgd sigma=0", "dp_sgd sigma=1"]
    assert len(spec.cells) == 3 * 2 * 2
    assert {cell.target.config.width for cell in spec.cells} == {4, 8}
    assert {cell.factors["target.width"] for cell in spec.cells} == {4, 8}


def test_read_applies_overrides_to_a_file(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(SMALL)
    assert read(path, ["factors.epochs=[3]", "data=digits", "data.size=16"]).epochs == (3,)
