import dataclasses
from typing import Annotated

import pytest
from annotated_types import Gt

from mia_core.attacks import ATTACKS
from mia_core.data import SOURCES, SPLITS
from mia_core.defenses import DEFENSES
from mia_core.derived import DERIVED
from mia_core.errors import Refused
from mia_core.registry import Registry
from mia_core.releases import RELEASES
from mia_core.settings import nearest, settings, validate
from mia_core.targets import TARGETS
from mia_core.training import TrainingConfig


@settings
class Rated:
    rate: Annotated[float, Gt(0)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_sise": 8}, "training.batch_sise: unknown key; did you mean 'batch_size'?"),
        ({"zzz": 8}, "training.zzz: unknown key; known: batch_size, beta1, generator_every, learning_rate"),
        ({"batch_size": True}, "training.batch_size: .*integer.*got True"),
        ({"batch_size": 32.0}, "training.batch_size: .*integer.*got 32.0"),
        ({"batch_size": "32"}, "training.batch_size: .*integer.*got '32'"),
        ({"learning_rate": "0.1"}, "training.learning_rate: .*number.*got '0.1'"),
        ({"learning_rate": True}, "training.learning_rate: .*number.*got True"),
        ({"batch_size": 1}, "training.batch_size: .*greater than 1.*got 1"),
        ({"beta1": 1.0}, "training.beta1: .*less than 1.*got 1.0"),
    ],
)
def test_wrong_settings_are_refused_in_one_line_with_place_value_and_way_out(values, message):
    with pytest.raises(ValueError, match=message) as error:
        validate(TrainingConfig, values, "training")
    assert "\n" not in str(error.value)


ODD = (None, True, -1, 10**400, float("nan"), "", "x", [], {}, {"a": 1}, [None], [True, False], [2, 1], [[1]],
       [1, "a"], [1, {"a": 1}])  # fmt: skip
"""Values of a study file, each of which some setting cannot have."""


@pytest.mark.parametrize(
    "registry", [ATTACKS, DEFENSES, DERIVED, RELEASES, SOURCES, SPLITS, TARGETS], ids=lambda r: r.kind
)
def test_an_odd_value_of_any_setting_is_refused_in_one_line_or_taken(registry):
    for name in registry.names():
        for field in dataclasses.fields(registry.find(name).Config):
            for value in ODD:
                try:
                    registry.choose({"name": name, field.name: value})
                except Refused as error:
                    assert "\n" not in str(error), (name, field.name, value)


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(ValueError, match=r"t\.beta1.*t\.batch_sise"):
        validate(TrainingConfig, {"beta1": 2.0, "batch_sise": 8}, "t")


def test_missing_settings_are_named():
    with pytest.raises(ValueError, match=r"^outer\.rate: required, and missing$"):
        validate(Rated, {}, "outer")


def test_settings_that_do_not_go_together_are_named_by_their_place():
    with pytest.raises(ValueError, match=r"^outer: give sigma or target_epsilon, one of them$"):
        DEFENSES.choose({"name": "dp_sgd", "clip": 1.0, "delta": 1e-5}, "outer")


def test_a_wrong_item_of_a_list_is_named_by_its_number():
    with pytest.raises(ValueError, match=r"attack\.steps\.1: .*integer.*got '10'"):
        ATTACKS.choose({"name": "local_gan", "steps": [5, "10"]}, "attack")


def test_what_is_no_mapping_is_refused():
    with pytest.raises(ValueError, match="training: expected keys and values, got 3"):
        validate(TrainingConfig, 3, "training")


def test_settings_built_from_python_are_checked_too():
    with pytest.raises(ValueError, match="batch_size"):
        TrainingConfig(batch_size="32")
    with pytest.raises(ValueError, match="batch_sise"):
        TrainingConfig(batch_sise=32)
    with pytest.raises(ValueError, match="positional"):
        TrainingConfig(32)


def test_settings_are_immutable():
    config = TrainingConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.batch_size = 64
    assert config.batch_size == 32


def test_a_whole_number_is_a_float_setting_and_spells_like_one():
    written = validate(TrainingConfig, {"learning_rate": 1}, "training")
    assert repr(written.learning_rate) == "1.0"
    assert written == TrainingConfig(learning_rate=1.0)


def test_nearest_names_a_close_word_or_lists_all():
    assert nearest("drop_out", ["dp_sgd", "dropout"]) == "; did you mean 'dropout'?"
    assert nearest("xyz", ["dp_sgd", "dropout"]) == "; known: dp_sgd, dropout"


@pytest.mark.parametrize("registry", [SOURCES, SPLITS, TARGETS, DEFENSES, ATTACKS], ids=lambda r: r.kind)
def test_registries_refuse_unknown_names_keys_and_forms(registry):
    name = registry.names()[0]
    with pytest.raises(ValueError, match=f"place: unknown {registry.kind} '{name}_'; did you mean '"):
        registry.choose(f"{name}_", "place")
    with pytest.raises(ValueError, match=r"place\.unheard_of: unknown key"):
        registry.choose({"name": name, "unheard_of": 1}, "place")
    for spec in (3, None, {}, {"name": 3}, [name]):
        with pytest.raises(ValueError, match="place: expected a name or a mapping with a name"):
            registry.choose(spec, "place")


@pytest.mark.parametrize(
    ("registry", "spec"),
    [
        (SOURCES, "digits"),
        (SOURCES, "fashion_mnist"),
        (SPLITS, {"name": "panel", "reference": 1, "unseen": 2, "panel": 3}),
        (SPLITS, "logan"),
        (TARGETS, "dcgan"),
        (DEFENSES, "dropout"),
        (DEFENSES, {"name": "dp_sgd", "sigma": 1, "clip": 1.0, "delta": 1e-5}),
        (ATTACKS, "white_box"),
        (ATTACKS, {"name": "local_gan", "steps": [5, 10]}),
        (ATTACKS, "euclidean"),
    ],
    ids=lambda value: getattr(value, "kind", str(value)),
)
def test_a_choice_written_out_with_its_defaults_chooses_the_same(registry, spec):
    choice = registry.choose(spec)
    written = choice.to_dict()
    assert written["name"] == choice.name
    fields = dataclasses.fields(choice.cls.Config)
    assert set(written) == {"name", *(field.name for field in fields if "added_later" not in field.metadata)}
    assert registry.choose(written) == choice


def test_a_setting_that_was_added_later_is_written_out_where_it_is_not_its_default():
    sizes = {"name": "panel", "reference": 1, "unseen": 2, "panel": 3}
    assert "probability" not in SPLITS.choose({**sizes, "probability": 0.5}).to_dict()
    written = SPLITS.choose({**sizes, "probability": 0.25}).to_dict()
    assert written["probability"] == 0.25
    assert SPLITS.choose(written).to_dict() == written


def test_choosing_leaves_the_given_mapping_alone():
    spec = {"name": "dropout", "rate": 0.25}
    DEFENSES.choose(spec)
    assert spec == {"name": "dropout", "rate": 0.25}


def test_a_name_registered_twice_is_an_error():
    registry: Registry = Registry("thing")

    class Thing:
        name = "thing"

    registry.register(Thing)
    with pytest.raises(AssertionError, match="registered twice"):
        registry.register(Thing)
    assert registry.names() == ["thing"]


def test_a_check_that_says_its_place_itself_says_it_once():
    """Of a network that is named within an attack, and of the target of a release."""
    attack, release = ATTACKS.find("local_gan").Config, RELEASES.find("weights").Config
    for model, values, line in (
        (attack, {"surrogate": "dcgn"}, "in.surrogate: unknown target 'dcgn'; did you mean 'dcgan'"),
        (attack, {"surrogate": {"name": "dcgan", "widht": 3}}, "in.surrogate.widht: unknown key; did you mean 'width'"),
        (release, {"root": "x", "target": "dcgn"}, "in.target: unknown target 'dcgn'; did you mean 'dcgan'"),
    ):
        with pytest.raises(Refused) as found:
            validate(model, values, "in")
        assert str(found.value).startswith(line) and "(got" not in str(found.value)
