"""Commands end with their exit code, whatever threads of libraries still do when the interpreter ends."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from study.store import Store, compact
from tests.faults.faulty import PROJECT

OLD = PROJECT / "tests" / "study" / "stores" / "format_2_unsealed" / "small"
"""Its compaction has no markers, so that `compact` writes another one."""
CHECKPOINT = "checkpoints/c25568733c81db5b/1-a.safetensors"
"""Of a trajectory that is done; `gc` reads the designs only where there are checkpoints."""
ENDS = {
    "gc": "1 more are younger than 24 hours\n",
    "compact": "2 passes compacted\n",
    "check": " 0 damaged\n1 unsealed files, 0 bytes\n",
    "read": " rows\n",
}
"""What each command prints last."""


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("runs", [1, pytest.param(3, marks=pytest.mark.slow), pytest.param(30, marks=pytest.mark.soak)])
def test_commands_end_with_exit_code_0_and_threads_of_arrow_never_need_the_interpreter(tmp_path, runs):
    compacted = shutil.copytree(OLD, tmp_path / "small")
    compact(Store.at(str(compacted)))
    (compacted / CHECKPOINT).parent.mkdir(parents=True)
    (compacted / CHECKPOINT).touch()
    lines = [f"gc --dry-run {shlex.quote(str(compacted))}", f"compact {shlex.quote(str(OLD))}"]
    lines += [f"{command} {shlex.quote(str(compacted))}" for command in ("check", "read")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.ending", str(runs), *lines],
        cwd=PROJECT, env={**os.environ, "OMP_NUM_THREADS": "2"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [run["command"] for run in found] == list(ENDS) * runs
    assert not [run for run in found if run["code"] or run["errors"] or run["entered"] != "0"]
    assert all(run["output"].endswith(ENDS[run["command"]]) for run in found)
