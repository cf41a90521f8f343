from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia_core.defenses import Arm
from mia_core.hashing import canonical_json
from mia_core.targets import TARGETS
from mia_core.training import TrainingConfig
from study.design.work import Work, missing
from study.plan import cost
from study.plan.cost import Seconds
from study.plan.past import Past
from study.spec.section_models import ComputeSpec
from study.store import Store
from study.store.roles import STUDY
from study.terminal import duration

STEP, ATTACK, MEASURE, BESIDES = 0.01, 0.5, 0.03, 0.2
START = datetime(2026, 1, 1, tzinfo=UTC)


def past_of(design, trials, step=lambda trial: STEP, device="cpu"):
    """Rows as if those trials had been run: the same for each step, run of an attack, and measure."""
    rows, attacks, quality, sealed_at = [], [], [], {}
    for trial in trials:
        cell = trial.cell
        config = {
            "data": design.spec.data.to_dict(), "target": cell.target.to_dict(),
            "training": cell.training.to_dict(),
            "defense": cell.arm.to_list(), "train_size": cell.train_size,
        }  # fmt: skip
        rows.append(
            {"trial_id": trial.trial_id, "trajectory_id": trial.trajectory_id, "role": trial.role, "device": device,
             "steps": trial.steps, "seconds_train": step(trial) * trial.steps, "finished_at": pd.Timestamp(START),
             "config": canonical_json(config)}
        )  # fmt: skip
        runs = {wanted.run_id: ATTACK * (1 + number) for number, wanted in enumerate(trial.attacks)}
        attacks += [
            {"trial_id": trial.trial_id, "attack": w.label, "attack_id": w.attack_id, "steps": w.level, "auc": 0.6,
             "seconds": runs[w.run_id]} for w in trial.attacks
        ]  # fmt: skip
        quality += [
            {"trial_id": trial.trial_id, "measure": w.name, "measure_id": w.measure_id, "seconds": MEASURE}
            for w in trial.measures
        ]
        spent = sum(runs.values()) + MEASURE * len(trial.measures) + BESIDES
        sealed_at[trial.trial_id] = START + timedelta(seconds=spent)
    return Past(*map(pd.DataFrame, (rows, attacks, quality)), sealed_at, {})


def everything(design):
    return {
        name: [Work(trial, True, False, trial.attacks, trial.measures) for trial in trials]
        for name, trials in design.trajectories.items()
    }


def estimate(design, past, todo=None, at_once=(2, 0)):
    timings = cost.timings(past, "cpu", design.pool.image_shape)
    return cost.estimate(design, everything(design) if todo is None else todo, timings, at_once)


def longest_first(jobs, slots):
    """Second by second, in thousandths: whoever is free takes the longest job that is left."""
    left, busy, clock = sorted(jobs, reverse=True), [0] * slots, 0
    while left or any(busy):
        for slot in range(slots):
            if not busy[slot] and left:
                busy[slot] = left.pop(0)
        busy = [max(0, seconds - 1) for seconds in busy]
        clock += 1
    return clock


@given(st.lists(st.integers(1, 30), max_size=8), st.integers(1, 4))
def test_makespan_is_what_longest_first_over_slots_takes(jobs, slots):
    assert cost.makespan(jobs, slots) == longest_first(jobs, slots)


def test_an_estimate_adds_start_steps_attacks_measures_and_what_a_pass_needs_besides(make_design):
    design = make_design()
    found = estimate(design, past_of(design, design.every))
    assert not found.seconds.unknown
    for name, trials in design.trajectories.items():
        passes = [item.total for item in found.works[name]]
        steps = [0, *(trial.steps for trial in trials)]
        for number, trial in enumerate(trials):
            runs = {wanted.run_id: ATTACK * (1 + place) for place, wanted in enumerate(trial.attacks)}
            wanted = STEP * (steps[number + 1] - steps[number]) + sum(runs.values()) + MEASURE * len(trial.measures)
            wanted += BESIDES + (cost.TRAJECTORY_SECONDS if number == 0 else 0)
            assert passes[number] == pytest.approx(wanted)
    jobs = [sum(item.total for item in items) for items in found.works.values()]
    assert found.wall == pytest.approx(cost.START_SECONDS + cost.makespan(jobs, 2))
    one = estimate(design, past_of(design, design.every), at_once=(1, 0))
    assert one.wall == pytest.approx(cost.START_SECONDS + sum(jobs))


def test_only_what_is_left_of_a_trajectory_counts(make_design):
    design = make_design()
    past = past_of(design, design.every)
    trials = next(trials for trials in design.trajectories.values() if trials[0].role == STUDY)
    last = {trials[0].trajectory_id: [Work(trials[1], True, False, (), ())]}
    rest = Seconds(scaled=cost.TRAJECTORY_SECONDS + BESIDES) + Seconds(measured=STEP) * (
        trials[1].steps - trials[0].steps
    )
    assert estimate(design, past, last).seconds.total == pytest.approx(rest.total)
    attack = {trials[0].trajectory_id: [Work(trials[0], False, False, trials[0].attacks[:1], ())]}
    assert estimate(design, past, attack).seconds.measured == pytest.approx(ATTACK)
    assert estimate(design, past, {}).wall == 0


def test_steps_of_other_cells_are_scaled_by_their_arithmetic_from_the_nearest_and_said_to_be(make_design):
    design = make_design()
    timed = next(trial for trial in design.trials if not trial.cell.arm.choices and trial.cell.train_size == 40)
    past = past_of(design, [timed])
    found = estimate(design, past)
    shape = design.pool.image_shape

    def relative(cell):
        return cost.step_cost(cell.target, cell.training, cell.arm, shape)

    for works in found.works:
        trial = design.trajectories[works][-1]
        if trial.role != STUDY or trial.cell.arm.choices:
            continue
        step = cost._step(design, trial, cost.timings(past, "cpu", shape))
        if trial.cell.train_size == 40:
            assert step == Seconds(measured=pytest.approx(STEP))
        else:
            assert step == Seconds(scaled=pytest.approx(STEP * relative(trial.cell) / relative(timed.cell)))
    assert found.seconds.scaled > 0 < found.seconds.measured


def test_a_step_costs_more_with_width_records_and_privacy_and_less_with_a_rarer_generator():
    def relative(width=8, every=1, arm="none", batch_size=32):
        target = TARGETS.choose({"name": "dcgan", "width": width, "norm": "group"})
        training = TrainingConfig(batch_size=batch_size, generator_every=every)
        return cost.step_cost(target, training, Arm.parse(arm), (1, 16, 16))

    assert relative(width=16) > 2 * relative()
    assert relative(batch_size=16) == pytest.approx(relative() / 2)
    assert relative(every=5) < relative()
    private = {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5}
    assert relative(arm=private) == pytest.approx(cost.PRIVATE * relative())


def test_what_was_never_timed_is_named_and_gives_no_wall_time(make_design):
    design = make_design()
    nothing = estimate(design, Past.none())
    assert cost.TRAINING in nothing.seconds.unknown
    assert {"white_box", "kid"} <= nothing.seconds.unknown
    assert nothing.wall is None
    added = make_design("attacks=[white_box, random]")
    found = estimate(added, past_of(design, design.every))
    assert found.seconds.unknown == {"random"}
    assert found.wall is None


def test_an_attack_that_was_never_timed_leaves_the_time_of_all_else_and_the_start_of_ray(make_design):
    design = make_design()
    past = past_of(design, design.every)
    whole = estimate(make_design("attacks=[white_box]"), past)
    found = estimate(make_design("attacks=[white_box, random]"), past)
    assert whole.wall == whole.least == pytest.approx(cost.START_SECONDS + whole.seconds.total / whole.slots, rel=0.5)
    assert found.least == pytest.approx(whole.wall)
    assert estimate(design, Past.none()).least is None
    priced = design.spec.compute.__class__(usd_per_hour=3600.0)
    assert found.usd(priced) == pytest.approx(found.least)


def test_an_attack_of_other_settings_is_scaled_by_its_step_level(make_design):
    design = make_design()
    past = past_of(design, design.every)
    timings = cost.timings(past, "cpu", design.pool.image_shape)
    longer = make_design("attacks.local_gan.steps=[4, 40]")
    wanted = [w for w in longer.trials[1].attacks if w.label.startswith("local_gan")]
    target = canonical_json(longer.trials[1].cell.target.to_dict())
    seconds, level = timings.named["local_gan_steps4"]
    assert timings.attack(wanted, target) == Seconds(scaled=pytest.approx(seconds * 40 / level))
    assert timings.attack([design.trials[1].attacks[0]], target).measured == pytest.approx(ATTACK)


def test_rows_of_another_device_are_used_only_where_this_one_has_none(make_design):
    design = make_design()
    slow = past_of(design, design.trials, step=lambda trial: 5 * STEP, device="Slow GPU")
    fast = past_of(design, design.controls)
    both = Past(pd.concat([slow.trials, fast.trials]), slow.attacks, slow.quality, slow.sealed_at, {})
    shape = design.pool.image_shape
    assert {round(step.seconds / STEP, 6) for step in cost.timings(both, "cpu", shape).steps} == {1.0}
    other = cost.timings(slow, "cpu", shape)
    assert other.device == "Slow GPU"
    assert {round(step.seconds / STEP, 6) for step in other.steps} == {5.0}


def test_a_pilot_is_what_was_never_timed_then_the_dearest_steps_in_the_fewest(make_design):
    design = make_design()
    todo = everything(design)
    (first,) = cost.pilot(design, todo, estimate(design, Past.none())).values()
    trial = first[-1].trial
    assert (trial.role, trial.replicate, trial.cell.train_size) == (STUDY, 0, 40)
    assert trial.cell.arm.poisson
    assert first[0].trial.epochs == 1
    known = past_of(design, [w.trial for w in first] + list(design.controls))
    again = cost.pilot(design, todo, estimate(design, known))
    assert len(again) == 1


def test_slots_and_gpus_are_as_ray_places_them():
    assert cost.slots(ComputeSpec(), 16, 0) == (16, 0)
    assert cost.slots(ComputeSpec(gpus_per_trial=0.25), 16, 2) == (8, 2)
    assert cost.slots(ComputeSpec(gpus_per_trial=0.4), 16, 2) == (4, 2)  # two on each GPU: a trial is on one of them
    assert cost.slots(ComputeSpec(), 16, 2) == (2, 2)
    assert cost.slots(ComputeSpec(), 16, 2, auto=0.125) == (16, 2)
    assert cost.slots(ComputeSpec(gpus_per_trial=0.5, concurrent=3), 16, 8) == (3, 2)
    assert cost.slots(ComputeSpec(gpus_per_trial=1.0), 4, 1) == (1, 1)
    assert cost.slots(ComputeSpec(concurrent=9), 2, 0) == (2, 0)


def test_money_is_wall_time_by_machine_and_gpus_in_use(make_design):
    design = make_design()
    found = estimate(design, past_of(design, design.every), at_once=(4, 2))
    hours = found.wall / 3600
    assert found.usd(ComputeSpec()) is None
    assert found.usd(ComputeSpec(usd_per_hour=3.0)) == pytest.approx(3 * hours)
    assert found.usd(ComputeSpec(usd_per_hour=3.0, usd_per_gpu_hour=2.0)) == pytest.approx(7 * hours)
    assert estimate(design, past_of(design, design.every)).usd(ComputeSpec(usd_per_gpu_hour=2.0)) is None
    assert estimate(design, Past.none()).usd(ComputeSpec(usd_per_hour=3.0)) is None


def test_a_swept_study_has_timed_all_that_it_would_take_again(swept, make_design):
    folder, _ = swept
    design = make_design()
    store = Store(folder / "results", "small")
    past = Past.of(store)
    assert not missing(design, store)
    found = estimate(design, past)
    assert not found.seconds.unknown
    longest = past.trials.sort_values("steps").drop_duplicates("trajectory_id", keep="last")
    spent = longest["seconds_train"].sum() + past.quality["seconds"].sum()
    runs = past.attacks.drop_duplicates(["trial_id", "seconds"])["seconds"].sum()
    assert found.seconds.measured == pytest.approx(spent + runs, rel=0.02)
    assert estimate(design, past, {}).seconds.total == 0


def test_shares_of_work_are_seconds_where_all_was_timed_else_updates(make_design):
    design = make_design()
    todo = everything(design)
    timed = cost.expected(estimate(design, past_of(design, design.every)), todo)
    assert timed.in_seconds
    untimed = cost.expected(estimate(design, Past.none()), todo)
    assert not untimed.in_seconds
    for name, works in todo.items():
        assert sum(untimed.works[name]) == works[-1].trial.steps + len(works)
        assert len(timed.works[name]) == len(works)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (90, "1.5 min"), (3599, "60.0 min"), (5400, "1.5 h"), (200_000, "2.3 days")],
)
def test_durations_read_well(seconds, words):
    assert duration(seconds) == words
