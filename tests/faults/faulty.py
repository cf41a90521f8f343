"""What tests of faults share: a sweep in a session of its own, its processes, and what its store holds."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil

from mia_core.batches import steps_of
from study.spec import documents
from study.spec.overrides import override
from study.store import Store
from study.store.noise import SECRET
from study.store.reading import KEYS, sealed
from study.store.schema import PASS_TABLES
from tests.small import SMALL

PROJECT = Path(__file__).parents[2]
EPOCHS, STEPS_PER_EPOCH = 150, 3
"""40 records in batches of 16: an epoch has two steps or three."""
TRAJECTORIES, TRIALS = 2, 4
STEPS = TRAJECTORIES * steps_of(EPOCHS, 40, 16)
"""Discriminator updates of an undisturbed run."""
PATIENCE = 600.0
"""Seconds until a test gives up; other people's work may share the machine."""
SETTINGS = (
    "replicates=1", "factors.train_size=[40]", f"factors.epochs=[1, {EPOCHS}]",
    "factors.defense=[none, {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1e-5}]",
    "attacks=[white_box, {name: euclidean, generated: 64}]", "quality.measures=[kid]", "quality.against=[unseen]",
    "controls.blind=false", "controls.nulls=0", "controls.copycat=false",
    "compute.checkpoint_seconds=0.000001", "compute.concurrent=2",
)  # fmt: skip
TIMES = ["seconds", "seconds_train", "peak_bytes", "finished_at"]


def write_study(folder):
    """`faulty.yaml`, in a folder."""
    document = documents.parse(SMALL, "small")
    for setting in SETTINGS:
        override(document, setting)
    (folder / "faulty.yaml").write_text(json.dumps(document))


class Sweep:
    """One start of `study.sweep faulty.yaml` in a folder, in a session of its own."""

    def __init__(self, folder, *arguments, within=(), **environment):
        """within: a command that it runs under."""
        write_study(folder)
        self.folder = folder
        command = [*within, sys.executable, "-m", "tests.faults.counted", "faulty.yaml", *arguments]
        own = {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "STEPS": str(folder / "steps")}
        # Files, since nobody reads before the end: Tune prints an error per killed worker, and a pipe that is full
        # stops the driver in the midst of a line.
        self.printed = [tempfile.TemporaryFile("w+") for _ in ("output", "errors")]  # noqa: SIM115  closed at exit
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=self.printed[0], stderr=self.printed[1], start_new_session=True,
            env={**os.environ, **own, **environment}, preexec_fn=hear_interruptions,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.kill()
        for file in self.printed:
            file.close()

    def end(self, *codes):
        """Wait for its end, with one of these codes; what it printed."""
        self.process.wait(PATIENCE)
        for file in self.printed:
            file.seek(0)
        output, errors = (file.read() for file in self.printed)
        assert self.process.returncode in codes, f"{self.process.returncode}: {output}{errors}"
        return output, errors

    def processes(self):
        """All that it has started and that still runs, Ray's too."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def workers(self):
        """Those that run a trajectory."""
        return [child for child in self.processes() if is_worker(child)]

    def kill(self, driver_only=False):
        """SIGKILL the driver, and all that it has started; how many processes that were.

        driver_only: Ray has to notice. What trains ends by itself; Ray's agents would stay for minutes, and are killed.
        """
        children = self.processes()
        workers = [child for child in children if is_worker(child)]
        self.process.kill()
        self.process.wait()
        if driver_only:
            assert not psutil.wait_procs(workers, timeout=PATIENCE)[1]
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=PATIENCE)
        return 1 if driver_only else 1 + len(children)


def hear_interruptions():
    """A shell without job control has `make test-faults &` ignore SIGINT, and so all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_worker(process):
    with contextlib.suppress(psutil.Error):
        return "".join(process.cmdline()[:1]).startswith("ray::ImplicitFunc")  # Tune's name of a trial's actor
    return False


def wait_for(true, sweep, seconds=PATIENCE, pause=0.05):
    """Wait until something holds; its value. None when the sweep ended before."""
    deadline = time.monotonic() + seconds
    while not (value := true()):
        if sweep.process.poll() is not None:
            return None
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(pause)
    return value


def steps(folder):
    """Training steps that were begun so far, in order: (trajectory, step)."""
    path = folder / "steps"
    return [tuple(line.split()) for line in path.read_text().splitlines()] if path.is_file() else []


def redone(folder):
    """Steps that were begun more than once, after checking that each was begun."""
    begun = steps(folder)
    assert len(set(begun)) == STEPS
    return len(begun) - STEPS


def rows(store, table):
    """Sealed rows without times, node and commit, in one order of rows and columns: who soaks may commit meanwhile."""
    frame = sealed(store, table, store.passes()).to_pandas().drop(columns=TIMES, errors="ignore")
    if "versions" in frame:
        frame["versions"] = [{**json.loads(text), "node": None, "git_commit": None} for text in frame["versions"]]
    return frame.sort_values(KEYS[table], ignore_index=True)[sorted(frame)]


def private(store):
    """Ids of trials and trajectories with a guarantee: their noise and samples are drawn anew by every training."""
    trials = rows(store, "trials")
    return set(trials.loc[trials["noise_key"] == SECRET, ["trial_id", "trajectory_id"]].to_numpy().ravel())


def contents(store, kind):
    """Sealed bytes of targets, samples or resume states, by name without the nonce of the attempt."""
    return {
        file.removesuffix(Path(file).suffix).removesuffix(f"-{marker['nonce']}"): store.sealed_bytes(file, seal)
        for marker in store.markers().values()
        for file, seal in marker["files"].items()
        if file.startswith(f"{kind}/")
    }


def assert_as_undisturbed(folder, undisturbed):
    """The same rows, bits of scores, quality and targets; each trial once; every sealed byte as it was sealed.

    Trials with a guarantee have the same ids, and rows about the same, but other noise and so other results.
    """
    store, other = (Store(place / "results", "small") for place in (folder, undisturbed))
    secret = private(other)
    assert private(store) == secret
    for table in PASS_TABLES:
        parts = []
        for found in (rows(store, table), rows(other, table)):
            own = found["trajectory_id" if table == "history" else "trial_id"].isin(secret)
            parts.append((found[~own].reset_index(drop=True), found.loc[own, KEYS[table]].reset_index(drop=True)))
        for mine, theirs in zip(*parts, strict=True):
            assert len(mine)
            pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    markers = store.markers()
    assert sorted(marker["trial_id"] for marker in markers.values() if marker["work"]["train"]) == sorted(
        marker["trial_id"] for marker in other.markers().values() if marker["work"]["train"]
    )
    assert len(store.done()) == len(other.done()) >= TRIALS
    for marker in markers.values():
        for relative, seal in marker["files"].items():
            store.sealed_bytes(relative, seal)
    for kind in ("targets", "resume", "samples"):
        mine, theirs = contents(store, kind), contents(other, kind)
        assert mine.keys() == theirs.keys()
        public = {name for name in mine if not any(word in name for word in secret)}
        assert 0 < len(public) < len(mine)
        assert [name for name in public if mine[name] != theirs[name]] == []
    assert not any((store.folder / "checkpoints").glob("*"))
    assert not any((store.folder / "failures").glob("*.json"))
