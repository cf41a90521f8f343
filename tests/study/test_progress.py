import io
import json
import logging
import sys

import pytest

from study.design.work import Work
from study.plan.cost import Expected
from study.run import progress
from study.run.progress import Progress
from study.terminal import Console


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that stands until it is set."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def todo(make_design):
    design = make_design()
    names = list(design.trajectories)[:3]
    return {
        name: [Work(trial, True, False, trial.attacks, trial.measures) for trial in design.trajectories[name]]
        for name in names
    }


def expect(todo, seconds=10.0, in_seconds=True, slots=1):
    return Expected({name: [seconds] * len(works) for name, works in todo.items()}, in_seconds, slots)


def plain():
    return Console(file=io.StringIO(), width=200)


def test_the_time_left_is_the_expected_seconds_over_slots_corrected_by_what_sealed_passes_took(todo, clock):
    with Progress(plain(), todo, expect(todo)) as shown:
        assert shown.state()["seconds_left"] == 60  # six passes of ten seconds, one after the other
        name, works = next(iter(todo.items()))
        shown.started(name)
        clock[0] += 4
        assert shown.state()["seconds_left"] == 56
        clock[0] += 16
        shown.sealed(name, works[0].trial.trial_id, 20.0)  # twice as long as expected
        assert shown.state()["seconds_left"] == 2 * 50
        clock[0] += 20
        shown.sealed(name, works[1].trial.trial_id, 20.0)
        shown.ended(name)
        assert shown.state()["seconds_left"] == 80
    two = Progress(plain(), todo, expect(todo, slots=2))
    assert two.state()["seconds_left"] == 40


def test_the_time_left_is_unknown_before_anything_was_timed_and_goes_by_shares_afterwards(todo, clock):
    shown = Progress(plain(), todo, expect(todo, seconds=7.0, in_seconds=False))
    assert shown.state()["seconds_left"] is None
    name, works = next(iter(todo.items()))
    shown.started(name)
    shown.sealed(name, works[0].trial.trial_id, 3.0)
    assert shown.state()["seconds_left"] == pytest.approx(3.0 * 5)


def test_running_queued_failed_and_the_last_error_are_told(todo, clock):
    shown = Progress(plain(), todo, expect(todo))
    first, second, _ = todo
    shown.started(first)
    shown.started(second)
    shown.again(first, "OSError: gone")
    assert shown.state()["queued"] == 2
    shown.started(first)
    shown.ended(first, "FloatingPointError: diverged")
    state = shown.state()
    assert (state["done"], state["passes"], state["queued"], state["tried_again"]) == (0, 6, 1, 1)
    assert [item["trajectory_id"] for item in state["running"]] == [second]
    assert state["running"][0]["trial"] == todo[second][0].trial.name
    assert state["failed"] == [first]
    assert state["last_error"] == f"{todo[first][0].trial.name}: FloatingPointError: diverged"
    json.dumps(state)


def test_a_pass_that_is_told_twice_counts_once(todo, clock):
    shown = Progress(plain(), todo, expect(todo))
    name, works = next(iter(todo.items()))
    for _ in range(2):
        shown.started(name)
        shown.sealed(name, works[0].trial.trial_id, 1.0)
    assert shown.state()["done"] == 1


def test_lines_come_once_a_minute_and_in_the_words_of_the_table(todo, clock):
    console = plain()
    with Progress(console, todo, expect(todo)) as shown:
        for _ in range(3):
            shown.started(next(iter(todo)))
        assert console.file.getvalue().count("done: 0 of 6 trials") == 1
        clock[0] += progress.LINE_SECONDS
        shown.started(next(iter(todo)))
        assert console.file.getvalue().count("done: 0 of 6 trials") == 2
        table = Console(file=io.StringIO(), width=200)
        table.print(shown._table())
    lines = console.file.getvalue()
    for word in ("done", "running", "queued", "failed", "left"):
        assert f"{word}: " in lines
        assert word in table.file.getvalue()


def test_the_state_is_kept_every_few_seconds_and_not_oftener(todo, clock):
    kept = []
    with Progress(plain(), todo, expect(todo), kept.append) as shown:
        for _ in range(5):
            shown.started(next(iter(todo)))
        assert len(kept) == 1
        clock[0] += progress.EVERY_SECONDS
        shown.started(next(iter(todo)))
        assert len(kept) == 2


def test_warnings_and_log_lines_go_above_the_live_table_and_handlers_are_given_back(todo, monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    stderr = io.StringIO()
    stderr.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(sys, "__stderr__", stderr)
    handler = logging.StreamHandler(stderr)
    logger = logging.getLogger("a.library")
    logger.addHandler(handler)
    try:
        with Progress(terminal, todo, expect(todo)) as shown:
            logger.warning("from a library")
            print("from a print", file=sys.stderr)
            shown.say("from [us]")
        assert handler.stream is stderr
    finally:
        logger.removeHandler(handler)
    assert stderr.getvalue() == ""
    for words in ("from a library", "from a print", "from [us]"):
        assert words in terminal.file.getvalue()


def test_a_running_trial_shows_its_step_its_loss_and_a_bar_on_a_terminal(todo, clock):
    name = next(iter(todo))
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True)
    shown = Progress(terminal, todo, expect(todo))
    shown.started(name)
    shown.trained(name, 150, 600, 0.51234)
    with terminal.capture() as captured:
        terminal.print(shown._table())
    lines = captured.get().splitlines()
    assert any("░" * 20 in line and "0 of 6 trials" in line for line in lines)
    assert any("█" * 5 + "░" * 15 in line and "step 150 of 600, loss 0.512" in line for line in lines)
    shown.sealed(name, todo[name][0].trial.trial_id, 1.0)
    with terminal.capture() as captured:
        terminal.print(shown._table())
    assert "step 150" not in captured.get()


def test_a_line_of_a_log_and_the_heartbeat_have_the_step_without_a_bar(todo, clock):
    name = next(iter(todo))
    console = plain()
    shown = Progress(console, todo, expect(todo))
    shown.started(name)
    shown.trained(name, 150, 600, None)
    (running,) = shown.state()["running"]
    assert (running["step"], running["steps"], running["loss"]) == (150, 600, None)
    shown._show(force=True)
    said = console.file.getvalue()
    assert "(step 150 of 600, 0 s)" in said
    assert "█" not in said
    assert "░" not in said


@pytest.mark.parametrize(("done", "of", "filled"), [(0, 6, 0), (3, 6, 10), (6, 6, 20), (0, 0, 20), (1, 10**9, 0)])
def test_a_bar_is_a_share_of_its_letters(done, of, filled):
    assert progress.bar(done, of) == "█" * filled + "░" * (20 - filled)
