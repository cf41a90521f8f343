"""What stands between Tune's loop and the rest: the log's thread, and the design that is unpacked once a process."""

import os
import threading
from types import SimpleNamespace

import pytest

from study.run import scheduling
from study.run.scheduling import _aside, _unpacked, run_trajectory


def test_tune_does_not_wait_for_the_log_which_is_kept_in_order():
    may_go_on = threading.Event()
    logged = []

    def log(trial_id):
        may_go_on.wait(20)
        logged.append((trial_id, threading.current_thread() is threading.main_thread()))

    with _aside(log) as aside:
        results = [aside(name) for name in "abc"]
        assert logged == []  # all three came back, with the first still in the log
        may_go_on.set()
        results[-1].result(20)
    assert logged == [("a", False), ("b", False), ("c", False)]


def test_a_worker_keeps_what_libraries_write_there_to_its_owner(monkeypatch, store):
    monkeypatch.setattr(scheduling, "_unpacked", lambda reference: SimpleNamespace(spec=store, trajectories={"j": ()}))
    before = os.umask(0o022)
    try:
        run_trajectory({"trajectory": "j", "memory": 1.0}, [None], store.root, {})
    finally:
        found = os.umask(before)
    assert oct(found) == "0o77"


def test_what_is_left_to_log_in_the_end_is_not_waited_for():
    began, may_go_on = threading.Event(), threading.Event()
    logged = []

    def log(trial_id):
        logged.append(trial_id)
        began.set()
        may_go_on.wait(20)

    with pytest.raises(KeyboardInterrupt), _aside(log) as aside:
        for name in "abc":
            aside(name)
        began.wait(20)
        threading.Timer(0.2, may_go_on.set).start()
        raise KeyboardInterrupt
    assert logged == ["a"]


def test_a_worker_unpacks_a_design_once_and_the_next_sweep_its_own(monkeypatch):
    fetched = []
    monkeypatch.setattr(scheduling.ray, "get", lambda reference: fetched.append(reference) or object())
    _unpacked.cache_clear()
    first = _unpacked("a reference")
    assert _unpacked("a reference") is first
    assert _unpacked("another") is not first
    assert fetched == ["a reference", "another"]
    _unpacked.cache_clear()
