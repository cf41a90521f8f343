import json

import numpy as np
import pytest
from SALib.analyze import sobol

from study.spec.factors import Range
from study.spec.sampling import DesignSpec
from study.spec.study_file import parse
from tests.small import small_spec

WIDTH = "factors.target.width={low: 4, high: 8, kind: integer}"
RATE = "factors.training.learning_rate={low: 1e-4, high: 1e-2, scale: log}"
BETA = "factors.training.beta1={low: 0.0, high: 0.9}"
ONE = ("factors.defense=[none]", "factors.train_size=[40]", "factors.epochs=[1]")


def drawn_spec(design, *overrides):
    return small_spec(*ONE, RATE, BETA, *overrides, f"design={design}")


def again(spec):
    return parse(json.loads(json.dumps(spec.resolved)))


@pytest.mark.parametrize("kind", ["real", "integer"])
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_levels_of_a_range_stay_in_it_ascend_and_reach_both_ends(scale, kind):
    of = Range(low=2, high=50, scale=scale, kind=kind)
    levels = [of.level(unit) for unit in np.linspace(0, 1, 2001)]
    assert levels == sorted(levels)
    assert (levels[0], levels[-1]) == (2, 50)
    assert {type(level) for level in levels} == {int if kind == "integer" else float}


def test_every_whole_number_of_a_linear_range_has_the_same_share():
    levels = [Range(low=1, high=4, kind="integer").level((i + 0.5) / 4000) for i in range(4000)]
    assert {levels.count(level) for level in (1, 2, 3, 4)} == {1000}


def test_a_log_range_gives_every_power_of_ten_the_same_share():
    levels = [Range(low=1e-4, high=1e-1, scale="log").level((i + 0.5) / 3000) for i in range(3000)]
    assert [sum(low <= level < 10 * low for level in levels) for low in (1e-4, 1e-3, 1e-2)] == [1000] * 3


@pytest.mark.parametrize(
    ("name", "points", "extended"),
    [("random", 5, 9), ("sobol", 4, 8), ("sobol, second_order: false", 4, 8)],
)
def test_more_points_keep_those_that_are_there(name, points, extended):
    few, more = (drawn_spec(f"{{name: {name}, points: {count}}}") for count in (points, extended))
    for factor, column in few.drawn.items():
        assert column == more.drawn[factor][: len(column)]
        assert len(column) < len(more.drawn[factor])
    assert few.design.extends


def test_another_number_of_latin_hypercube_points_is_another_design_and_is_said_to_be():
    few, more = (drawn_spec(f"{{name: latin_hypercube, points: {count}}}") for count in (4, 8))
    assert few.drawn["training.beta1"] != more.drawn["training.beta1"][:4]
    assert not few.design.extends
    assert "draws all of them anew" in few.design.describe(4, 4)


def test_a_latin_hypercube_has_one_point_in_each_slice_of_every_factor():
    spec = drawn_spec("{name: latin_hypercube, points: 16}")
    assert sorted(int(beta / 0.9 * 16) for beta in spec.drawn["training.beta1"]) == list(range(16))
    decades = [np.log10(rate) + 4 for rate in spec.drawn["training.learning_rate"]]
    assert sorted(int(value / 2 * 16) for value in decades) == list(range(16))


def test_points_depend_on_the_seed_and_on_nothing_but_factors_and_design():
    spec = drawn_spec("{name: random, points: 6}")
    for override in ("study=other", "replicates=7", "attacks=[white_box]", "target.latent=9", "split.unseen=41"):
        assert drawn_spec("{name: random, points: 6}", override).drawn == spec.drawn
    assert drawn_spec("{name: random, points: 6}", "seed=8").drawn != spec.drawn
    assert small_spec(*ONE, BETA, RATE, "design={name: random, points: 6}").drawn == spec.drawn, "the order of keys"


@pytest.mark.parametrize("name", ["random", "latin_hypercube", "sobol"])
def test_a_resolved_spec_states_its_points_and_reads_back_without_drawing(name, monkeypatch):
    overrides = "factors.defense=[none, dropout]", "factors.train_size={low: 40, high: 80}", WIDTH
    spec = drawn_spec(f"{{name: {name}, points: 4}}", *overrides)
    monkeypatch.setattr("study.spec.study_file.draw", lambda *arguments: pytest.fail("drawn again"))
    assert again(spec).resolved == spec.resolved
    assert again(spec).cells == spec.cells
    assert again(spec).points == spec.points


def test_saltellis_points_are_in_the_order_that_salibs_estimators_take():
    # f is additive: first-order indices are the shares of variance, and equal the total ones.
    spec = drawn_spec("{name: sobol, points: 512}")
    beta, rate = (np.array(spec.drawn[name]) for name in ("training.beta1", "training.learning_rate"))
    values = 3 * beta / 0.9 + (np.log10(rate) + 4) / 2
    cube = {"num_vars": 2, "names": list(spec.drawn), "bounds": [[0, 1]] * 2}
    found = sobol.analyze(cube, values, calc_second_order=True, seed=1, print_to_console=False)
    np.testing.assert_allclose(found["S1"], [0.9, 0.1], atol=0.03)
    np.testing.assert_allclose(found["ST"], [0.9, 0.1], atol=0.03)
    assert len(values) == 512 * (2 * 2 + 2)


def test_points_that_differ_in_the_budget_alone_share_a_cell_and_equal_points_are_one():
    spec = drawn_spec("{name: sobol, points: 8}", "factors.epochs={low: 1, high: 4}")
    assert len(spec.points) == 8 * (2 * 3 + 2)
    assert len(spec.cells) < len(spec.points)
    assert any(len(cell.levels) > 1 for cell in spec.cells)
    for number, (cell, level) in enumerate(spec.points):
        assert level == spec.drawn["epochs"][number]
        assert level in spec.cells[cell].levels
        assert spec.cells[cell].training.beta1 == spec.drawn["training.beta1"][number]
        assert spec.cells[cell].factors["training.learning_rate"] == spec.drawn["training.learning_rate"][number]
    assert {level for cell in spec.cells for level in cell.levels} == set(spec.drawn["epochs"])


def test_a_setting_of_one_arm_is_inert_in_others_whose_equal_points_collapse():
    arms = "factors.defense=[none, {name: dp_sgd, clip: 1.0, delta: 1e-5}]"
    spec = small_spec(
        arms,
        "factors.defense.dp_sgd.sigma={low: 0.5, high: 4, scale: log}",
        "factors.train_size=[40]",
        "factors.epochs=[1]",
        "design={name: random, points: 12}",
    )
    none = [cell for cell in spec.cells if not cell.arm.choices]
    private = [cell for cell in spec.cells if cell.arm.choices]
    assert len(none) == 1
    assert len(private) == 12 - spec.drawn["defense"].count(0)
    sigmas = [cell.arm.columns()["sigma"] for cell in private]
    own = zip(spec.drawn["defense.dp_sgd.sigma"], spec.drawn["defense"], strict=True)
    assert sigmas == [sigma for sigma, arm in own if arm]
    assert all(cell.factors == {} for cell in spec.cells)
    assert "sigma" not in spec.resolved["factors"]["defense"][1]
    assert again(spec).cells == spec.cells


def test_a_list_for_a_setting_of_a_defense_makes_arms_as_a_list_in_the_arm_does():
    inside = small_spec("factors.defense=[none, {name: dropout, rate: [0.2, 0.5]}, weight_norm]")
    outside = small_spec("factors.defense=[none, dropout, weight_norm]", "factors.defense.dropout.rate=[0.2, 0.5]")
    assert inside.resolved == outside.resolved
    assert inside.cells == outside.cells


def test_a_factorial_is_resolved_as_it_always_was():
    assert "design" not in small_spec().resolved
    assert small_spec("design={name: factorial}").resolved == small_spec().resolved
    assert small_spec().points == ()


SIGMA = "factors.defense=[none, {name: dp_sgd, clip: 1, delta: 1e-5}]"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((RATE,), "training.learning_rate: a range needs `design: {name: random"),
        ((RATE, "design={name: sobol, points: 6}"), "power of two of base points, got 6"),
        ((RATE, "design={name: sobol}"), "design: points are for"),
        ((RATE, "design={name: factorial, points: 3}"), "design: points are for"),
        ((RATE, "design={name: sobbol, points: 4}"), "'sobol'"),
        ((RATE, "design={name: random, points: 4, second_order: true}"), "second_order is for sobol"),
        ((*ONE, "design={name: random, points: 4}"), "needs a factor with a range or several levels"),
        (("factors.training.beta1={low: 0.5, high: 0.5}",), "factors.training.beta1: low 0.5 must be below high 0.5"),
        (("factors.training.beta1={low: 0, high: 0.5, scale: log}",), "needs a low above 0"),
        (("factors.training.beta1={low: 0, high: 0.5, kind: integer}",), "needs whole bounds"),
        (("factors.training.beta1={lo: 0, high: 0.5}",), "did you mean 'low'?"),
        (("factors.train_size={low: 0, high: 50}",), "whole numbers from 1, got 0"),
        (("factors.train_size={low: 40.5, high: 50}",), "needs whole bounds"),
        (
            ("factors.target.width={low: 4, high: 8.5}", "design={name: random, points: 4}"),
            "target.width: input should be a valid integer",
        ),
        (("factors.defense.dropuot.rate=[0.5]",), "did you mean 'defense.dropout.*'?"),
        (("factors.defense.weight_norm.x=[1]",), "no arm of factors.defense has weight_norm"),
        (("factors.defense.dropout.rat=[0.5]",), "factors.defense[1].rat: unknown key; did you mean 'rate'?"),
        (("factors.defense.dropout.rate=[0.5, 0.5]",), "'0.5' is there twice"),
        ((SIGMA,), "factors.defense[1]: give sigma or target_epsilon"),
        (
            (SIGMA, "factors.defense.dp_sgd.sigma={low: 1, high: 2}", "design={name: sobol, points: 4}"),
            "defense.dp_sgd.sigma means nothing to the arm none",
        ),
        (("factors.steps=[5]",), "epochs or of steps, one of them"),
        (
            (RATE, "design={name: random, points: 4}", "attacks.local_gan.at={epochs: [1]}"),
            "has one level of epochs",
        ),
    ],
    ids=str,
)
def test_what_makes_no_sound_design_is_refused_in_one_line(overrides, message):
    with pytest.raises(ValueError) as error:
        small_spec(*overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "drawn",
    [
        {"training.beta1": [0.5]},
        {"training.beta1": [0.5], "training.learning_rate": [1e-3, 1e-2]},
        {"training.beta1": [0.95], "training.learning_rate": [1e-3]},
        {"training.beta1": ["x"], "training.learning_rate": [1e-3]},
    ],
    ids=str,
)
def test_points_that_are_not_of_the_factors_are_refused(drawn):
    resolved = json.loads(json.dumps(drawn_spec("{name: random, points: 2}").resolved))
    resolved["design"]["drawn"] = drawn
    with pytest.raises(ValueError, match=r"design\.drawn: "):
        parse(resolved)


def test_a_range_reads_well():
    assert str(Range(low=1e-4, high=1e-2, scale="log")) == "0.0001 to 0.01, log"
    assert str(Range(low=4, high=8, kind="integer")) == "4 to 8, whole"
    assert DesignSpec(name="sobol", points=4).describe(24, 20) == (
        "sobol, 24 points (4 base points) in 20 cells; more points keep these"
    )
