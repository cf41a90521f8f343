import json
from pathlib import Path

import jsonschema
import pytest

from study.spec import documents, json_schema
from study.spec.study_file import parse, read
from tests.commands import mia_study
from tests.small import SMALL, small_spec

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(json_schema.schema())
    return jsonschema.Draft202012Validator(json_schema.schema())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_study_of_ours_is_valid_by_the_schema(validator, path):
    validator.validate(documents.load(path))


@pytest.mark.parametrize(
    "setting",
    [
        ("targt", "dcgan"),
        ("training", {"batchsize": 3}),
        ("training", {"learning_rate": -1}),
        ("target", {"name": "dcgan", "widht": 4}),
        ("target", "dcgn"),
        ("data", {"name": "digits", "sise": 8}),
        ("attacks", ["white_bx"]),
        ("attacks", [{"name": "euclidean", "generated": "many"}]),
        ("factors", {"train_size": [0], "epochs": [1]}),
        ("factors", {"train_size": [40], "epochs": [1], "defence": ["none"]}),
        ("factors", {"train_size": [40], "epochs": [1], "defense": ["dropuot"]}),
        ("design", {"name": "sobbol", "points": 4}),
        ("search", {"points": 4}),
        ("replicates", 0),
    ],
    ids=str,
)
def test_what_a_study_refuses_by_itself_the_schema_refuses_too(validator, setting):
    document = documents.parse(SMALL, "small")
    validator.validate(document)
    document[setting[0]] = setting[1]
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(document)


RELEASE = {
    "study": "x",
    "release": {"name": "onnx", "root": "g.onnx", "latent": "normal:4", "recipient": "a colleague"},
    "split": {"members": "in", "non_members": "out", "groups": "who.csv", "holdout": "random"},
    "data": {"size": 32},
    "attacks": ["euclidean", {"name": "latent", "perceptual": 0.0}],
}


def test_a_release_is_valid_by_the_schema_as_it_is_given_and_as_it_is_resolved(validator):
    validator.validate(RELEASE)
    validator.validate(json.loads(json.dumps(parse(RELEASE).resolved)))


DENOISER = {"name": "denoiser", "root": "d.onnx", "prediction": "v", "timesteps": 2}


@pytest.mark.parametrize("given", [{"schedule": "linear", "betas": [0.1, 0.2]}, {"schedule": [0.9, 0.5]}], ids=str)
def test_a_denoiser_is_valid_by_the_schema_as_it_is_given_and_as_it_is_resolved(validator, given):
    release = {**DENOISER, **given, "sampling_steps": 2, "samples": {"root": "s.npz", "key": "x"}}
    document = {**RELEASE, "release": release}
    validator.validate(document)
    resolved = json.loads(json.dumps(parse(document).resolved))
    validator.validate(resolved)
    assert parse(resolved).resolved == parse(document).resolved
    for wrong in ({"prediction": "score"}, {"schedule": "sigmoid"}, {"samples": {"rot": "s"}}, {"betas": [0.1]}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**RELEASE, "release": {**release, **wrong}})


@pytest.mark.parametrize(
    "setting",
    [
        ("release", {"name": "onxn", "root": "g.onnx"}),
        ("split", {"members": "in", "non_membres": "out"}),
        ("split", {"name": "panel", "panel": 10}),
        ("factors", {"train_size": [40]}),
        ("data", {"name": "digits"}),
        ("replicates", "x"),
    ],
    ids=str,
)
def test_what_a_release_refuses_by_itself_the_schema_refuses_too(validator, setting):
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**RELEASE, setting[0]: setting[1]})
    with pytest.raises(ValueError):
        parse({**RELEASE, setting[0]: setting[1]})


def test_the_printed_study_reads_back_as_the_same_one(tmp_path, capsys):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    assert mia_study("config")([str(path), "--set", "replicates=3"]) == 0
    printed = capsys.readouterr().out
    assert parse(json.loads(printed)).resolved == small_spec("replicates=3").resolved
    (tmp_path / "again.json").write_text(printed)
    assert read(tmp_path / "again.json").resolved == small_spec("replicates=3").resolved
    assert mia_study("config")([str(path), "--set", "replicates=0"]) == 2
    assert "greater than 0" in capsys.readouterr().err


def test_the_schema_is_printed(capsys):
    assert mia_study("config")(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "A study"
