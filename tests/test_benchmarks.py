import ast
import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import (
    bookkeeping,
    clip,
    distances,
    gpu,
    orchestration,
    private_step,
    scale,
    settle,
    waiting,
    whole_study,
)
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.measuring import PROJECT, Spent, timed_module
from benchmarks.private_rules import COMPETITORS
from mia_core.data import load_pool
from mia_core.derived import Evidence
from mia_core.derived.calibrated import calibrated
from study.design.design_rows import design_rows
from study.design.identity import trial_id
from study.design.study_design import Design
from study.design.work import missing
from study.run.runner import Runner
from study.spec import study_file as spec_file
from study.store import Store, compact, read
from study.store.passes import trial_of
from tests.mia_core.leaking_scores import Population
from tests.small import add_database, start_ray

TINY = ["--widths", "4", "--batches", "4", "--repeats", "1", "--report-only"]


def test_without_a_name_all_benchmarks_are_listed(capsys):
    assert main([]) == 0
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines()] == list(BENCHMARKS)


def test_an_unknown_name_is_refused(capsys):
    assert main(["private"]) == 2
    assert "private_step" in capsys.readouterr().err


@pytest.mark.slow
def test_private_step_prints_a_row_of_each_table(capsys):
    assert main(["private_step", *TINY]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| 4 ")]
    assert [(len(row), row[1]) for row in rows] == [(8, "4"), (7, "4"), (6, "64")]
    assert "not measured" not in str(rows)


@pytest.mark.parametrize("variant", ["opacus hooks", "opacus ghost", "torch.func"])
def test_private_step_times_nothing_when_a_variant_takes_another_step(variant, monkeypatch):
    right = COMPETITORS[variant]

    def wrong(network, optimizer, privacy):
        return right(network, optimizer, dataclasses.replace(privacy, clip=1.01 * privacy.clip))

    monkeypatch.setitem(COMPETITORS, variant, wrong)
    monkeypatch.setattr(private_step, "interleaved", lambda *_: pytest.fail("timed"))
    with pytest.raises(ValueError, match="not the same step"):
        private_step.main(TINY)


def test_clip_prints_what_passes_the_plain_rule_and_not_ours(capsys):
    assert main(["clip", "--draws", "2"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if " C |" in line]
    assert [row[:2] for row in rows] == [[name, kind] for name in clip.CASES for kind in ("float32", "float64")]
    plain, ours = ([float(row[place].removesuffix(" C")) for row in rows] for place in (4, 6))
    assert max(plain) == 100 and max(ours) <= 1


def test_clip_fails_when_too_much_passes(monkeypatch, capsys):
    monkeypatch.setattr(clip, "BOUND", 1e-9)
    monkeypatch.setattr(clip, "CASES", {"underflow": clip.CASES["underflow"]})
    assert main(["clip", "--draws", "1"]) == 1
    assert "underflow, float32: 0.0000" in capsys.readouterr().out


def test_about_half_of_the_records_of_a_private_step_are_clipped():
    stepper = private_step.Stepper(private_step.Cell("dcgan", 4, 64, "cpu"), "ours")
    clipped = private_step.gradient_norms(stepper.target, stepper.real) > stepper.learner.rule.clip
    assert 16 <= clipped.sum() <= 48


@pytest.mark.slow
def test_the_peak_of_a_step_counts_what_the_step_frees_again():
    peak = private_step.in_fresh_process(_peak_of_a_tensor, preload=["torch"])
    assert 31 < peak < 40


def _peak_of_a_tensor():
    torch.ones(2)
    return private_step.peak_megabytes(lambda: torch.ones(32 * 2**18), "cpu")


@pytest.mark.slow
def test_private_step_names_where_ours_is_slower_or_larger_and_fails(monkeypatch, capsys):
    def doubled(steps, *_):
        return {variant: np.full(3, 2.0 if variant == "ours" else 1.0) for variant in steps}

    monkeypatch.setattr(private_step, "interleaved", doubled)
    monkeypatch.setattr(
        private_step, "peaks", lambda _, names: {name: 1.6 if name == "ours" else 1.0 for name in names}
    )
    asked = ["--widths", "4", "--batches", "32", "64"]
    assert private_step.main(asked) == 1
    failures = capsys.readouterr().out.split("\n\n")[-1].splitlines()
    longer = "ours takes 2.00 (2.00-2.00) times as long as"
    slower = [f"width 4, batch {batch}: {longer} {name}" for batch in (32, 64) for name in COMPETITORS]
    assert failures == [*slower, "width 4, batch 64: ours takes 1.60 times plain's memory"]
    assert private_step.main([*asked, "--report-only"]) == 0


def test_private_step_fails_where_memory_cannot_be_measured(monkeypatch, capsys):
    monkeypatch.setattr(private_step, "interleaved", lambda steps, *_: dict.fromkeys(steps, np.ones(3)))
    monkeypatch.setattr(private_step, "peaks", lambda _, variants: dict.fromkeys(variants))
    assert private_step.main(["--widths", "4", "--batches", "4"]) == 1
    assert "memory is not measured" in capsys.readouterr().out


@pytest.mark.slow
def test_cpu_time_of_a_command_counts_its_children_and_theirs(tmp_path):
    (tmp_path / "spin.py").write_text(
        "import pathlib, time\nwhile time.process_time() < 0.6: pass\npathlib.Path('spun').touch()\ntime.sleep(60)\n"
    )
    (tmp_path / "child.py").write_text(
        "import pathlib, subprocess, sys\n"
        "spun = subprocess.Popen([sys.executable, 'spin.py'])\n"
        "pathlib.Path('pid').write_text(str(spun.pid))\n"
    )
    (tmp_path / "parent.py").write_text(
        "import os, pathlib, subprocess, sys, time\n"
        "subprocess.run([sys.executable, 'child.py'])\n"
        "while not pathlib.Path('spun').exists(): time.sleep(0.1)\n"
        "time.sleep(2)\n"
        "os.kill(int(pathlib.Path('pid').read_text()), 9)\n"
    )
    spent = timed_module("parent", folder=tmp_path)
    assert 0.6 <= spent.cpu < 3
    assert spent.wall > 2


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path):
    with pytest.raises(RuntimeError, match="no_such_module"):
        timed_module("no_such_module", folder=tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_gpu_says_that_there_is_none_and_how_to_try_it(capsys):
    assert main(["gpu"]) == 2
    assert capsys.readouterr().err == "refused: torch sees no GPU here; --rehearse tries the program on the CPU\n"


@pytest.mark.slow
def test_gpu_rehearsed_prints_equality_and_every_way_of_every_target(capsys):
    assert main(["gpu", "--rehearse"]) == 0
    out = capsys.readouterr().out
    for target in ("dcgan", "wgan_gp", "began", "vae_gan"):
        for way in ("eager", "1 at once", "64 at once", "dp_sgd"):
            assert f"| {target} | {way} |" in out
    assert "a rehearsal" in out and "within its bound" in out


def test_gpu_fails_where_weights_differ(monkeypatch, capsys):
    failures: list[str] = []
    monkeypatch.setattr(gpu, "TARGETS_TIMED", ("dcgan",))
    monkeypatch.setattr(gpu, "ARMS", {"none": "none"})
    monkeypatch.setattr(gpu, "largest_difference", lambda a, b: float("nan"))
    (row,) = gpu.equality_rows(gpu.Setting("cpu", size=8, width=4, batch=4), failures)
    assert row[-1] == "beyond the bound"
    assert failures == ["dcgan none: weights differ by nan of their size"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_whole_study_finds_the_same_in_all_three_ways(monkeypatch, capsys):
    small = {
        "data": {"name": "digits", "size": 8},
        "split": {"name": "panel", "reference": 80, "unseen": 40, "panel": 80, "probability": 0.25, "known": 10},
        "target": {"name": "dcgan", "width": 4, "latent": 8},
        "factors": {"train_size": [40], "epochs": [1, 2], "defense": [{"name": "dropout", "rate": 0.5}]},
        "attacks": [
            "white_box",
            {
                "name": "local_gan",
                "steps": [1, 2],
                "generated": 64,
                "surrogate": {"name": "dcgan", "width": 4},
                "at": {"epochs": "last"},
            },
        ],
        "quality": {
            "measures": ["kid"],
            "against": ["unseen"],
            "samples": 40,
            "extractor": {"features": 8, "width": 4, "steps": 20},
        },
    }
    monkeypatch.setattr(whole_study, "STUDY", {**whole_study.STUDY, **small})
    monkeypatch.setattr(whole_study, "timed_module", _here)
    monkeypatch.setattr(whole_study.os, "sched_getaffinity", lambda _: {0})  # one script at a time
    import mlflow.tracking  # which asks for versions of its machine by processes

    assert mlflow.tracking
    monkeypatch.setattr(whole_study.subprocess, "run", _script)
    start_ray()
    assert main(["whole_study", "--rounds", "1"]) == 0
    said = capsys.readouterr().out
    assert "round 1: 8 weights, AUCs and KIDs are the same to the last bit in all three ways" in said
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith(("| scripts", "| grid", "| sweep"))]
    assert [len(row) for row in rows] == [6, 6, 6]


def _here(module, *arguments, folder):
    """What the command of a way does, in this process, and a sweep without Ray."""
    if module != "study.sweep":
        add_database(folder)
        whole_study.main(arguments)
    else:
        spec = spec_file.read(folder / "study.yaml", [f"results={folder / 'results'}"])
        design = Design(spec, load_pool(spec.data))
        store = Store(spec.results, spec.study)
        store.publish(design.hash, spec.resolved, design_rows(design), {})
        for works in missing(design, store).values():
            list(Runner(design, store).run(works))
    return Spent(1.0, 1.0)


def _script(command, check):
    """What a cell's own process does, in this one."""
    given, out = map(Path, command[-2:])
    out.write_text(json.dumps(whole_study.run_cell(json.loads(given.read_text()))))


def test_whole_study_times_nothing_when_a_way_finds_something_else(monkeypatch, capsys):
    found = {
        "scripts": {"t": {"weights": "a", "kid": 0.25}},
        "grid": {"t": {"weights": "a", "kid": 0.25}},
        "sweep": {"t": {"weights": "a", "kid": np.nextafter(0.25, 1)}},
    }
    monkeypatch.setattr(whole_study, "run", lambda way, _: (Spent(1.0, 1.0), found[way]))
    assert main(["whole_study", "--rounds", "1"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("trial t: kid is 0.25 by scripts, 0.25") and "| grid" not in said


@pytest.mark.slow
def test_no_benchmark_and_no_test_looks_for_a_ray_that_runs_or_did():
    places = [path for folder in ("benchmarks", "tests") for path in (PROJECT / folder).rglob("*.py")]
    calls = [
        (path.name, call)
        for path in places
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("ray.init", "tune.Tuner", "local_ray")
    ]
    inits = {name for name, call in calls if ast.unparse(call.func) != "tune.Tuner"}
    assert {"orchestration.py", "whole_study.py", "small.py", "pool_memory.py"} <= inits
    for name, call in calls:
        if ast.unparse(call.func) == "ray.init":
            assert "address" in {keyword.arg for keyword in call.keywords}, f"{name}: {ast.unparse(call)}"
        elif ast.unparse(call.func) == "tune.Tuner":
            assert name in inits, f"{name}: a Tuner starts Ray by itself, and looks for one that runs"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_orchestration_runs_its_own_sweep(tmp_path):
    start_ray()
    add_database(tmp_path)
    orchestration.sweep(tmp_path, trials=3, slots=2, seconds=0.05)
    worked = waiting.times(tmp_path / orchestration.LOG)
    assert len(worked) == 3 and all(ended - begun >= 0.05 for begun, ended in worked)
    assert len(read(tmp_path, "orchestration", "attacks")) == 3


def test_overhead_is_slot_time_beside_the_work():
    # Two slots, 1 s of work and 0.25 s between; 10 s from start to end for 4 trials.
    worked = [(2.0, 3.0), (2.5, 3.5), (3.25, 4.25), (3.75, 4.75)]
    steady, whole = orchestration.overheads(worked, Spent(wall=10.0, cpu=1.0), slots=2, seconds=1.0)
    assert steady == pytest.approx(0.25) and whole == pytest.approx(4.0)


def test_a_trajectory_reads_its_own_markers_however_many_there_are(tmp_path, monkeypatch):
    store = orchestration.filled(tmp_path, 40)
    read_each, looked = store.place.read_each, []
    monkeypatch.setattr(store.place, "read_each", lambda names: looked.extend(names) or read_each(names))
    trajectory = orchestration.content_id(3)
    assert store.resume_steps(trajectory, partial(trial_id, trajectory)) == [orchestration.RESUMED_STEP]
    assert [trial_of(Path(name).stem) for name in looked] == [trial_id(trajectory, orchestration.RESUMED_STEP)]
    assert store.resume_steps("0" * 16, partial(trial_id, "0" * 16)) == []
    assert (orchestration.bookkeeping(40, 3) > 0).all()


@pytest.mark.slow
def test_the_store_that_bookkeeping_makes_up_is_a_finished_study_and_every_step_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(bookkeeping, "FRESH", 2)
    design = bookkeeping.design_of(24)
    store = bookkeeping.make_store(design, str(tmp_path))
    trials = {trial.trial_id for trial in design.every}
    assert not missing(design, store)
    assert set(read(store.root, store.study, "wide")["trial_id"]) == trials
    assert compact(store) == len(trials)
    for step in bookkeeping.STEPS.values():
        assert step(str(tmp_path), 24) is not None


STUDY = scale.Study(
    gpus=2, share=0.5, trials=40, levels=2, seconds_trial=5.0, spread=0.0,
    driver_trial=0.0, driver_trajectory=0.0, worker_trajectory=0.0,
)  # fmt: skip


def test_a_simulated_study_whose_driver_costs_nothing_keeps_all_slots_busy():
    run = scale.simulate(STUDY)
    assert run.seconds == pytest.approx(run.ideal) == pytest.approx(40 * 5 / 4)
    assert (run.slots_busy, run.driver_busy, run.wait_most) == (pytest.approx(1), 0, 0)


def test_a_simulated_study_whose_driver_is_slow_takes_as_long_as_the_driver():
    run = scale.simulate(dataclasses.replace(STUDY, driver_trial=100.0))
    assert run.seconds == pytest.approx(40 * 100 + 5)
    assert run.driver_busy == pytest.approx(4000 / 4005)
    assert run.wait_most > 100


def plainly_simulated(study, lengths):
    """The same, second for second looked for in a list."""
    waiting, free, end = list(lengths), 0.0, 0.0
    slots = [[study.worker_trajectory + waiting[0], study.levels, waiting.pop(0)] for _ in range(study.slots)]
    while slots:
        slot = min(slots, key=lambda one: one[0])
        free = max(free, slot[0]) + study.driver_trial
        slot[1] -= 1
        if slot[1]:
            slot[0] += slot[2]
        elif waiting:
            free += study.driver_trajectory
            slot[2] = waiting.pop(0)
            slot[0], slot[1] = free + study.worker_trajectory + slot[2], study.levels
        else:
            slots.remove(slot)
        end = max(end, free)
    return end


@pytest.mark.parametrize("driver", [0.01, 0.3, 3.0])
def test_a_simulated_study_takes_as_long_as_a_plain_simulation_of_it(driver):
    study = dataclasses.replace(
        STUDY, spread=0.7, driver_trial=driver, driver_trajectory=2 * driver, worker_trajectory=0.5
    )
    draws = np.random.default_rng(3).lognormal(-(0.7**2) / 2, 0.7, 20) * 5.0
    assert scale.simulate(study, seed=3).seconds == pytest.approx(plainly_simulated(study, draws))


def test_scale_prints_a_row_for_each_length_of_a_trial(capsys):
    assert main(["scale", "--gpus", "2", "--trials", "50", "--seconds", "1", "2"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[2:]] == ["1", "2"]


def test_distances_of_all_attacks_are_those_of_scikit_learn():
    counts = (30, 10000, 20)
    distances.check(distances.points(distances.flat(8, counts), counts))


@pytest.mark.long
def test_settle_finds_what_the_variate_the_pairing_and_calibration_save():
    """200 replicates of records that are most of the scores' variance: known gains, within the noise of a variance."""
    random = np.random.default_rng(0)
    population = Population(0.8, shift=0.5, common_noise=0.9)
    (first, second), member = population.cells(random, 1, 200, 140, 0.5, (1.0, 1.0))
    cells = [(scores[0], member[0], None) for scores in (first, second)]
    every = np.arange(200)
    assert settle.by_variate(cells)(every) > 2.5
    assert settle.by_pairing([(cells[0], cells[1])])(every) > 5
    derived = [(calibrated(Evidence.leave_one_out(scores, held)), held, None) for scores, held, _ in cells]
    gain = settle.by_calibration(derived, cells)
    assert gain(every) > 2
    middle, low, high = settle.with_limits(gain, 200)
    assert low < middle < high and middle == pytest.approx(gain(every))
    assert settle.by_variate([(scores, held, None) for scores, held, _ in derived])(every) == pytest.approx(1, abs=0.1)
