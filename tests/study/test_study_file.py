import json
import re

import pytest

from mia_core.errors import Refused
from study import outcomes
from study.spec.study_file import parse, read
from tests.commands import mia_study
from tests.small import SMALL, small_spec

REFUSED = {
    "factors.train_sise=[100]": "did you mean 'train_size'?",
    "train_size=100": "did you mean 'factors.train_size'?",
    "factors.train_size=[0]": "whole numbers from 1, got 0",
    "factors.train_size=[40, 40]": "'40' is there twice",
    "factors.epochs=[1.5]": "whole numbers from 1, got 1.5",
    "factors.epochs=[true]": "whole numbers from 1, got True",
    "factors.epochs=[]": "at least one level",
    "factors.defense=[{name: dropout, rate: []}]": "factors.defense[0].rate: needs at least one value",
    "factors.defense=[[weight_norm, {name: dropout, rate: []}]]": "factors.defense[0].rate: needs at least one value",
    "attacks=[{name: euclidean, generated: []}]": "attacks[0].generated: needs at least one value",
    "attacks=[{name: euclidean, generated: [64, 64]}]": "'euclidean' is there twice",
    "attacks=[{name: local_gan, steps: []}]": "attacks[0].steps",
    "attacks=[{name: local_gan, sides: members}]": "known is 0",
    "attacks=[{name: discriminative, surrogate: began}]": "cannot learn without a generator",
    "target.training=3": "target.training: expected keys and values, got 3",
    "target.training={batchsize: 3}": "did you mean 'batch_size'?",
    "factors.defense=[{name: noise_layer}]": "sigma: required, and missing",
    "factors.defense=[{name: dropuot}]": "did you mean 'dropout'?",
    "factors.defense=[none, none]": "twice",
    "factors.defense=[[none, dropout]]": "`none` stands alone",
    "factors.defense=[{name: dropout, rate: 1.0}]": "less than 1",
    "factors.defense=[{name: dp_sgd, sigma: 1.0, clip: 1.0}]": "delta: required, and missing",
    "factors.defense=[{name: dp_sgd, clip: 1.0, delta: 1e-5}]": "factors.defense[0]: give sigma or target_epsilon",
    "factors.defense=[{name: dp_sgd, sigma: 1.0, target_epsilon: 8.0, clip: 1.0, delta: 1e-5}]": "one of them",
    "factors.target.widht=[4, 8]": "did you mean 'width'?",
    "attacks.white_box.foo=1": "unknown key",
    "attacks.whitebox.foo=1": "did you mean 'white_box'?",
    "attacks=[white_bx]": "did you mean 'white_box'?",
    "attacks=[white_box, white_box]": "give each its own `label:`",
    "attacks=[3]": "attacks[0].label: '3'",
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
    f"study={101 * 'a'}": "at most 100 characters",
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


def test_a_list_of_target_epsilons_makes_an_arm_of_each_and_reads_back_as_the_same_arms():
    spec = small_spec("factors.defense=[none, {name: dp_sgd, target_epsilon: [2, 8], clip: 1, delta: 1e-5}]")
    assert [cell.arm.label for cell in spec.cells[:3]] == ["none", "dp_sgd epsilon=2", "dp_sgd epsilon=8"]
    again = parse(json.loads(json.dumps(spec.resolved)))
    assert again.resolved == spec.resolved
    assert again.cells == spec.cells


def test_read_applies_overrides_to_a_file(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(SMALL)
    assert read(path, ["factors.epochs=[3]", "data=digits", "data.size=16"]).levels == (3,)


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
    assert (spec.train_sizes, spec.levels, spec.replicates) == ((30,), (3,), 1)
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


@pytest.mark.parametrize("number", ["9" * 5000, "\u00b2", "\uff11", "-1", "1_0", " 1", "01"])
def test_what_is_no_number_of_an_item_is_refused_in_a_line(number):
    with pytest.raises(ValueError, match=r"^--set attacks.*: no item '") as error:
        small_spec(f"attacks.{number}.steps=[1]")
    assert len(str(error.value)) < 1000


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
        ("presets: {quick: {attacks.\u00b2.x: 3}}\n", "presets.quick.attacks.\u00b2.x: no item '\u00b2'"),
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
    assert mia_study("sweep")([str(with_presets), "--preset", "quick", "--plan"]) == outcomes.COMPLETE
    assert "trials: 3 (0 trained, 3 to train" in capsys.readouterr().out
    for command in ("sweep", "trial"):
        assert mia_study(command)([str(with_presets), "--preset", "quik"]) == outcomes.REFUSED
        assert "did you mean 'quick'?" in capsys.readouterr().err


TARGETS = (
    "factors.target=[{name: dcgan, width: 4, latent: 8, training: {learning_rate: 0.001}}, "
    "{name: began, width: 2, latent: 8}, vae_gan]"
)


def several_targets(*overrides):
    return small_spec("target=~", TARGETS, *overrides)


def test_levels_of_target_make_cells_each_with_its_own_settings_and_training():
    spec = several_targets()
    assert len(spec.cells) == 3 * 2 * 3
    settings = {cell.target.name: (cell.target.config.width, cell.training.learning_rate) for cell in spec.cells}
    assert settings == {"dcgan": (4, 1e-3), "began": (2, 2e-4), "vae_gan": (16, 2e-4)}
    assert {cell.training.batch_size for cell in spec.cells} == {16}, "the study's training is for all of them"
    assert all(cell.factors == {} for cell in spec.cells)


def test_a_targets_own_training_goes_before_the_studys_and_a_dotted_factor_before_both():
    spec = several_targets("training.learning_rate=0.5", "factors.training.learning_rate=[0.01, 0.02]")
    assert {cell.training.learning_rate for cell in spec.cells} == {0.01, 0.02}
    spec = several_targets("training.learning_rate=0.5")
    assert {(cell.target.name, cell.training.learning_rate) for cell in spec.cells} == {
        ("dcgan", 1e-3),
        ("began", 0.5),
        ("vae_gan", 0.5),
    }


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(SMALL)
    return path


def beta1s(spec):
    return {cell.target.name: cell.training.beta1 for cell in spec.cells}


def test_a_target_has_its_own_beta1_unless_the_study_gives_one_and_vae_gan_has_none(file):
    levels = "factors.target=[dcgan, began, vae_gan, wgan_gp]"
    own = read(file, ["target=~", levels])
    assert beta1s(own) == {"dcgan": 0.5, "began": 0.5, "vae_gan": None, "wgan_gp": 0.0}
    given = read(file, ["target=~", levels, "training.beta1=0.25"])
    assert beta1s(given) == {"dcgan": 0.25, "began": 0.25, "vae_gan": None, "wgan_gp": 0.25}
    for spec in (own, given):
        assert parse(json.loads(json.dumps(spec.resolved))).cells == spec.cells
    # To name a target's own changes nothing that is trained, nor does a beta1 for targets beside it.
    assert read(file, ["training.beta1=0.5"]).cells == read(file).cells
    vae_gan = [cell for cell in own.cells if cell.target.name == "vae_gan"]
    assert vae_gan == [cell for cell in given.cells if cell.target.name == "vae_gan"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("target=vae_gan", "training.beta1=0.5"), "training.beta1: vae_gan .* has no beta1; leave it out"),
        (
            ("target={name: vae_gan, training: {beta1: 0.5}}",),
            "target.training.beta1: vae_gan .* has no beta1; leave it",
        ),
        (
            ("target=~", "factors.target=[dcgan, {name: vae_gan, training: {beta1: 0.5}}]"),
            "target.training.beta1: vae_gan .* has no beta1; leave it out",
        ),
        (("target=vae_gan", "factors.training.beta1=[0.0, 0.5]"), "factors.training.beta1: vae_gan .*leave the factor"),
        (
            ("target=~", "factors.target=[dcgan, vae_gan]", "factors.training.beta1=[0.0, 0.5]"),
            "factors.training.beta1: vae_gan .* has no beta1; leave the factor out, or that target",
        ),
        (("target=vae", "training.generator_every=2"), "training.generator_every: vae has no discriminator, .*; leave"),
        (
            ("target=~", "factors.target=[wgan_gp, {name: ddpm, training: {generator_every: 5}}]"),
            "target.training.generator_every: ddpm has no discriminator, .*; leave it out",
        ),
        (
            ("target=~", "factors.target=[dcgan, vae, ddpm]", "factors.training.generator_every=[1, 5]"),
            "factors.training.generator_every: vae has no .*, ddpm has no .*; leave the factor out, or that target",
        ),
        (
            ("target={name: vae, likelihood: bernoulli, deviation: 0.5}",),
            "target.deviation: vae with likelihood bernoulli has no deviation of pixels; leave it out",
        ),
        (
            ("target=vae", "factors.target.likelihood=[gaussian, bernoulli]", "factors.target.deviation=[0.2, 0.3]"),
            "target.deviation: vae with likelihood bernoulli has .*, and other levels of factors.target.* read it; in "
            "place of these factors, list targets in factors.target, each with a `label`",
        ),
        (
            ("target={name: vae, deviation: 0.2}", "factors.target.likelihood=[gaussian, bernoulli]"),
            "target.deviation: .*; in place of these factors, list targets in factors.target",
        ),
    ],
)
def test_a_setting_that_a_target_does_not_read_is_refused_with_a_way_out(file, overrides, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        read(file, overrides)


def test_the_way_out_for_settings_that_some_levels_read_works(file):
    listed = "[{name: vae, label: narrow, deviation: 0.2}, {name: vae, label: coin, likelihood: bernoulli}]"
    spec = read(file, ["target=~", f"factors.target={listed}"])
    assert {cell.label for cell in spec.cells} == {"narrow", "coin"}


def test_a_spec_of_an_earlier_version_that_gave_vae_gan_a_beta1_is_read(file):
    resolved = read(file, ["target={name: vae_gan, training: {learning_rate: 0.001}}"]).resolved
    resolved["training"]["beta1"] = resolved["factors"]["target"][0]["training"]["beta1"] = 0.5
    assert beta1s(parse(resolved)) == {"vae_gan": None}


def test_discriminator_steps_of_a_study_are_those_of_its_targets_with_a_discriminator(file):
    targets = "factors.target=[wgan_gp, vae]"
    plain, given = (read(file, ["target=~", targets, *more]) for more in ((), ("training.generator_every=5",)))
    steps = {cell.target.name: cell.training.generator_every for cell in given.cells}
    assert steps == {"wgan_gp": 5, "vae": 1}
    assert [cell for cell in given.cells if cell.target.name == "vae"] == [
        cell for cell in plain.cells if cell.target.name == "vae"
    ]


def test_a_spec_of_an_earlier_version_that_gave_a_vae_discriminator_steps_is_read(file):
    resolved = read(file, ["target={name: vae, training: {learning_rate: 0.001}}"]).resolved
    training = resolved["factors"]["target"][0]["training"]
    resolved["training"]["generator_every"] = training["generator_every"] = 5
    assert {cell.training.generator_every for cell in parse(resolved).cells} == {1}


def test_a_dotted_setting_varies_every_target_that_is_a_level():
    spec = several_targets("factors.target.width=[4, 6]")
    assert len(spec.cells) == 3 * 2 * 2 * 3
    for name in ("dcgan", "began", "vae_gan"):
        assert {cell.target.config.width for cell in spec.cells if cell.target.name == name} == {4, 6}
    with pytest.raises(ValueError, match="norm: unknown key"):
        several_targets("factors.target.norm=[group, none]")  # BEGAN has none


@pytest.mark.parametrize(
    "levels",
    ["[dcgan, {name: dcgan, width: 4}]", "[{name: dcgan, latent: 8}, dcgan]", "[{name: began}, vae_gan, began]"],
)
def test_a_target_is_a_level_once(levels):
    with pytest.raises(ValueError, match=r"factors.target: .* is there twice; .*factors.target\.\*"):
        small_spec("target=~", f"factors.target={levels}")


@pytest.mark.parametrize(
    ("vain", "read_", "message"),
    [
        ("attacks=[{name: monte_carlo, percentile: 1.0}]", "attacks=[{name: monte_carlo, percentile: 0.1}]",
         "attacks[0].percentile: monte_carlo with radius median takes no percentile; leave it out"),
        ("attacks=[{name: monte_carlo, radius: [median, percentile], percentile: [0.5, 1.0]}]",
         "attacks=[{name: monte_carlo, radius: [median, percentile], percentile: 1.0}]",
         "percentile: monte_carlo with radius median takes no percentile; give what takes it an item of its own"),
        ("attacks=[{name: monte_carlo, space: hog, components: 3}]",
         "attacks=[{name: monte_carlo, space: [pca, hog], components: 3}]", "components: monte_carlo with space hog"),
        ("attacks=[{name: nearest, space: features, components: 3}]", "attacks=[{name: nearest, components: 3}]",
         "components: nearest with space features has no PCA"),
        ("attacks=[{name: local_gan, share: 0.2}]", "attacks=[{name: local_gan, known: 10, share: 0.2}]",
         "share: local_gan with known 0"),
        ("attacks=[{name: discriminative, real: members, generated: 300}]",
         "attacks=[{name: discriminative, real: [samples, members], generated: 300}]", "generated: discriminative"),
        ("attacks=[{name: gradient_norms, groups: 4}]", "attacks=[{name: gradient_norms, group: [0, 1], groups: 4}]",
         "groups: gradient_norms with group 0"),
        ("derived=[{name: rmia, base: euclidean, a: 0.5}]",
         "derived=[{name: rmia, base: euclidean, a: 0.5, form: offline}]", "derived.rmia_euclidean.a: rmia is online"),
        ("derived=[{name: rmia, base: euclidean, a: 0.5, form: online}]",
         "derived=[{name: rmia, base: euclidean, form: online}]", "derived.rmia_euclidean.a: rmia is online"),
    ],
)  # fmt: skip
def test_a_setting_of_an_attack_that_means_nothing_beside_another_is_refused(file, vain, read_, message):
    with pytest.raises(Refused, match=re.escape(message)):
        read(file, ["derived=[]", vain])
    read(file, ["derived=[]", read_])


def test_a_resolved_study_with_a_setting_that_nothing_reads_is_read_all_the_same():
    items = "attacks=[{name: monte_carlo, percentile: 1.0}]"
    spec = small_spec("derived=[]", items)
    assert parse(json.loads(json.dumps(spec.resolved))).resolved == spec.resolved


def test_a_level_without_a_name_is_refused():
    with pytest.raises(ValueError, match="target: expected a name"):
        small_spec("target=~", "factors.target=[{width: 4}, dcgan]")


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("factors.target.width=[4, 6]",),
        ("factors.training.learning_rate=[0.01, 0.02]", "training.generator_every=2"),
        ("attacks=[random, {name: local_gan, known: [0, 10]}, {name: discriminative, real: [samples, members]}]",),
        ("factors.defense=[none, weight_norm, {name: noise_layer, sigma: [0.1, 1.0]}, [weight_norm, dropout]]",),
    ],
    ids=str,
)
def test_a_resolved_spec_with_several_targets_reads_back_as_the_same_cells_and_attacks(overrides):
    spec = several_targets(*overrides)
    again = parse(json.loads(json.dumps(spec.resolved)))
    assert again.resolved == spec.resolved
    assert again.cells == spec.cells
    assert again.attacks == spec.attacks


def test_one_target_and_a_factor_of_one_level_are_the_same_study():
    one = small_spec()
    level = small_spec("target=~", "factors.target=[{name: dcgan, width: 4, latent: 8}]")
    assert one.resolved == level.resolved
    assert one.cells == level.cells


def labels(item):
    return [attack.label for attack in small_spec(f"attacks=[{item}]").attacks]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("random", ["random"]),
        ("{name: local_gan, known: [0, 10, 30]}", ["local_gan", "local_gan_known10", "local_gan_known30"]),
        (
            "{name: local_gan, known: 20, sides: [members, non_members, both]}",
            ["local_gan_members20", "local_gan_non_members20", "local_gan_known20"],
        ),
        (
            "{name: local_gan, steps: [5, 10], surrogate: [dcgan, began, vae_gan]}",
            ["local_gan", "local_gan_began", "local_gan_vae_gan"],
        ),
        (
            "{name: discriminative, real: [samples, members], known: [10, 20]}",
            [
                "discriminative_samples10",
                "discriminative_samples20",
                "discriminative_members10",
                "discriminative_members20",
            ],
        ),
        ("{name: euclidean, generated: [100, 2000]}", ["euclidean_generated100", "euclidean_generated2000"]),
        (
            "{name: local_gan, known: [10, 20], share: [0.2, 0.5]}",
            [
                "local_gan_known10_share0_2",
                "local_gan_known10_share0_5",
                "local_gan_known20_share0_2",
                "local_gan_known20_share0_5",
            ],
        ),
        ("{name: local_gan, label: mine, known: 20}", ["mine"]),
        ("{name: local_gan, label: mine, known: [10, 20]}", ["mine_known10", "mine_known20"]),
    ],
)
def test_lists_in_an_attacks_settings_make_attacks_with_labels_that_tell_them_apart(item, expected):
    assert labels(item) == expected


def test_steps_stay_one_nested_attack_and_at_holds_for_every_attack_of_a_list():
    attacks = small_spec("attacks=[{name: local_gan, steps: [5, 10], known: [0, 10], at: {epochs: last}}]").attacks
    assert [attack.choice.config.steps for attack in attacks] == [(5, 10)] * 2
    assert [attack.choice.config.known for attack in attacks] == [0, 10]
    assert [attack.at for attack in attacks] == ["last"] * 2


@pytest.mark.parametrize(
    "items",
    [
        "{name: local_gan, surrogate: [{name: dcgan, width: 4}, {name: dcgan, width: 8}]}",
        "{name: local_gan, known: [10, 10]}",
        "{name: local_gan, known: 10}, {name: local_gan, known: [10, 20]}",
        "{name: random, label: x}, {name: euclidean, label: x}",
    ],
)
def test_attacks_that_labels_do_not_tell_apart_are_refused_with_the_way_out(items):
    with pytest.raises(ValueError, match=r"attacks: label: .* is there twice; give each its own `label:`"):
        small_spec(f"attacks=[{items}]")


def test_an_attack_without_a_name_is_refused_as_that_and_not_by_a_label_that_nobody_gave():
    with pytest.raises(Refused, match=r"attacks\[0\]: expected a name or a mapping with a name"):
        small_spec("attacks=[{name:white_box,time:5}]")  # without blanks these are two keys
