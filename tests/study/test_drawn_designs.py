"""Designs that draw their points: trials, ids, controls, and what the plan tells."""

import io

import pytest

from study.design.design_rows import design_rows
from study.plan import overview
from study.terminal import Console
from tests.study.designs import THREE, ids

RANGES = ("factors.training.learning_rate={low: 1e-4, high: 1e-2, scale: log}", "factors.epochs={low: 1, high: 3}",
          "factors.train_size={low: 40, high: 90}", "factors.defense=[none]")  # fmt: skip


def drawn_design(make_design, points, *overrides, name="random"):
    return make_design(*RANGES, f"design={{name: {name}, points: {points}}}", *overrides)


def test_every_replicate_has_a_trial_of_every_point_and_the_table_says_which(make_design):
    design = drawn_design(make_design, 8, name="sobol")
    rows = [row for row in design_rows(design) if row["kind"] == "point"]
    assert [row["id"] for row in rows] == [str(number) for number in range(8 * 8)] * 2
    trials = {trial.trial_id: trial for trial in design.trials}
    assert {row["trial_id"] for row in rows} == set(trials)
    for replicate in (0, 1):
        for number in range(64):
            trial = trials[rows[64 * replicate + number]["trial_id"]]
            assert trial.replicate == replicate
            assert trial.cell.train_size == design.spec.drawn["train_size"][number]
            assert trial.epochs == design.spec.drawn["epochs"][number]
            assert trial.cell.training.learning_rate == design.spec.drawn["training.learning_rate"][number]


def test_more_points_and_replicates_keep_ids_and_queries(make_design):
    few, more = drawn_design(make_design, 4), drawn_design(make_design, 9, "replicates=3")
    assert set(ids(few)) < set(ids(more))
    assert few.split.queries_digest == more.split.queries_digest
    assert {w.measure_id for t in few.trials for w in t.measures} == {
        w.measure_id for t in more.trials for w in t.measures
    }
    assert {t.trial_id for t in few.controls if t.role == "null"} < {t.trial_id for t in more.controls}


def test_a_drawn_trial_is_the_one_that_a_factorial_of_its_levels_has(make_design):
    trial = drawn_design(make_design, 4).trials[0]
    same = make_design(
        f"factors.train_size=[{trial.cell.train_size}]",
        f"factors.epochs=[{trial.epochs}]",
        f"training.learning_rate={trial.cell.training.learning_rate!r}",
        "factors.defense=[none]",
    )
    assert trial.trial_id in ids(same)


def test_points_that_differ_in_epochs_alone_share_a_trajectory(make_design):
    design = drawn_design(make_design, 8, name="sobol")
    assert len({trial.trajectory_id for trial in design.trials}) == 2 * len(design.cells) < len(design.trials)


def test_a_drawn_design_has_controls_of_its_first_point(make_design):
    design = drawn_design(make_design, 5, "controls.nulls=2")
    first = design.cells[0]
    assert {trial.cell.train_size for trial in design.controls} == {first.train_size}
    assert [trial.replicate for trial in design.controls if trial.role == "null"] == [0, 1]


def test_every_point_is_attacked_also_by_attacks_of_the_last_level(make_design):
    design = drawn_design(make_design, 8, name="sobol")
    assert {len(trial.attacks) for trial in design.trials} == {4}


def test_points_of_an_arm_that_does_not_fit_its_target_are_left_out_and_a_sobol_design_refused(make_design):
    both = (*THREE, "factors.epochs=[1]", "factors.train_size=[40]", SIGMA_OR_NONE)
    design = make_design(*both, "design={name: random, points: 24}")
    numbers = {number for number, _ in design.points}
    assert numbers < set(range(24))
    refused = {i for i in range(24) if design.spec.drawn["defense"][i] and design.spec.drawn["target"][i] == 1}
    assert numbers == set(range(24)) - refused
    with pytest.raises(ValueError, match="sobol needs every point, and dp_sgd sigma=1 does not fit began"):
        make_design(*both, "design={name: sobol, points: 8}")


SIGMA_OR_NONE = "factors.defense=[none, {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1e-5}]"


def test_the_plan_of_a_drawn_design_tells_ranges_and_points(make_design):
    sink = io.StringIO()
    overview.show(Console(file=sink, width=300), drawn_design(make_design, 4), {})
    assert "0.0001 to 0.01, log" in sink.getvalue()
    assert "40 to 90, whole" in sink.getvalue()
    assert "design: random, 4 points in 4 cells; more points keep these\n" in sink.getvalue()
