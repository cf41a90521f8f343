import json
import signal
import subprocess
import sys

import pytest
import torch

from mia_core.attacks import ATTACKS, Attack
from study import machine
from study.design.work import missing
from study.run.runner import Runner
from study.store.reading import trial_tables

IGNORED = """
import os, signal
from study.signals import terminate_in_order
terminate_in_order()
try:
    os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    print("in order")
"""


def ignore():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_a_sweep_that_a_script_put_in_the_background_ends_in_order_on_sigterm():
    command = [sys.executable, "-c", IGNORED]
    done = subprocess.run(command, preexec_fn=ignore, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "in order\n", done.stderr


SETTINGS = """
import json, os, torch
from study.machine import pick_device, versions
before = versions()["deterministic"]
device = pick_device(0)
print(json.dumps([
    before, versions()["deterministic"], versions()["threads"], device, os.environ["CUBLAS_WORKSPACE_CONFIG"],
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32,
]))
"""


@pytest.mark.long
def test_a_process_that_picked_its_device_computes_what_repeats_and_in_full_precision():
    done = subprocess.run([sys.executable, "-c", SETTINGS], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout) == [False, True, 1, "cpu", ":4096:8", False, False, False]


@pytest.fixture
def repeatable():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def put(images):
    """An operation for which torch has no repeatable kernel, not on a CPU either."""
    return images.clone().put_(torch.tensor([0, 0]), torch.tensor([0.5, 0.25]))


def test_an_operation_without_a_repeatable_kernel_says_what_to_do(repeatable):
    with (
        pytest.raises(
            RuntimeError, match=r"^put_ does not have .* compute on CPUs, by compute.gpus_per_trial=0, .* or put"
        ),
        machine.explaining_kernels(),
    ):
        put(torch.zeros(3))
    with pytest.raises(RuntimeError, match=r"^other$"), machine.explaining_kernels():
        raise RuntimeError("other")


def test_a_training_or_attack_without_a_repeatable_kernel_fails_with_what_to_do(
    repeatable, make_design, store, monkeypatch
):
    class Putting(ATTACKS.find("white_box")):
        name = "putting"

        def run(self, view, queries, knowledge, rng):
            return super().run(view, put(queries), knowledge, rng)

    monkeypatch.setitem(ATTACKS._classes, "putting", Putting)
    assert issubclass(Putting, Attack)
    design = make_design(
        "attacks=[putting, white_box]", "factors.defense=[none]", "replicates=1", "quality.measures=[]"
    )
    works = next(works for works in missing(design, store).values() if works[0].trial.role == "study")
    sealed = list(Runner(design, store).run(works))
    assert all(list(one.failed) == ["putting"] for one in sealed)
    assert "compute.gpus_per_trial=0" in sealed[0].failed["putting"]
    versions = json.loads(trial_tables(store, sealed[0].trial.trial_id)[1]["trials"]["versions"].iloc[0])
    assert (versions["deterministic"], versions["tf32"]) == (True, False)


def test_the_versions_of_a_trial_say_whether_products_may_be_taken_in_tf32(make_design, store):
    design = make_design(
        "attacks=[white_box]", "factors.defense=[none]", "training.precision=tf32", "quality.measures=[]"
    )
    works = next(works for works in missing(design, store).values() if works[0].trial.role == "study")
    sealed = list(Runner(design, store).run(works))
    versions = json.loads(trial_tables(store, sealed[0].trial.trial_id)[1]["trials"]["versions"].iloc[0])
    assert (versions["deterministic"], versions["tf32"]) == (torch.are_deterministic_algorithms_enabled(), True)
