import json

import pytest

from study import sweep, trial
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


PRESETS = """
presets:
  quick:
    factors.train_size: [30]
    factors.epochs: [1]
    attacks.euclidean.generated: 32
    target.width: 8
    replicates: 1
  wrong: {target.widht: 8}
"""


@pytest.fixture
def with_presets(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(SMALL + PRESETS)
    return path


def test_a_preset_sets_dotted_keys_before_any_override(with_presets):
    spec = read(with_presets, ["factors.epochs=[3]"], "quick")
    assert (spec.train_sizes, spec.epochs, spec.replicates) == ((30,), (3,), 1)
    assert spec.cells[0].target.config.width == 8
    assert next(entry for entry in spec.attacks if entry.label == "euclidean").choice.config.generated == 32
    assert spec.split == small_spec().split


def test_presets_are_no_part_of_the_study(with_presets):
    assert read(with_presets).resolved == small_spec().resolved
    by_hand = small_spec(
        "factors.train_size=[30]",
        "factors.epochs=[1]",
        "attacks.euclidean.generated=32",
        "target.width=8",
        "replicates=1",
    )
    assert read(with_presets, preset="quick").resolved == by_hand.resolved


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("quik", r"--preset quik: unknown preset; did you mean 'quick'\?"),
        ("paper", "--preset paper: unknown preset; known: quick, wrong"),
        ("wrong", r"target.widht: unknown key; did you mean 'width'\?"),
    ],
)
def test_a_preset_that_is_unknown_or_wrong_is_refused(with_presets, preset, message):
    with pytest.raises(ValueError, match=message):
        read(with_presets, preset=preset)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("presets: quick\n", "presets: expected names"),
        ("presets: {quick: [1]}\n", "presets: expected names"),
        ("presets: {quick: {train_size: [3]}}\n", "presets.quick.train_size: unknown key; did you mean 'factors.train"),
        ("presets: {quick: {attacks.whitebox.x: 3}}\n", "presets.quick.attacks.whitebox.x: no item 'whitebox'"),
        ("presets: {quick: {seed.x: 3}}\n", "presets.quick.seed.x: seed is not a section"),
    ],
)
def test_presets_of_another_form_are_refused_with_their_place(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(SMALL + text)
    with pytest.raises(ValueError, match=message):
        read(path, preset="quick")


def test_a_study_without_presets_says_so(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(SMALL)
    with pytest.raises(ValueError, match="--preset quick: unknown preset; there is nothing to set here"):
        read(path, preset="quick")


def test_the_commands_take_a_preset(with_presets, monkeypatch, capsys):
    monkeypatch.chdir(with_presets.parent)
    assert sweep.main([str(with_presets), "--preset", "quick", "--plan"]) == sweep.COMPLETE
    assert "trials: 3 (0 trained, 3 to train" in capsys.readouterr().out
    for main in (sweep.main, trial.main):
        assert main([str(with_presets), "--preset", "quik"]) == sweep.REFUSED
        assert "did you mean 'quick'?" in capsys.readouterr().err
