"""`python -m tests.faults.ending RUNS LINE ...`: commands of study.store, each so often, each in a process of its own.

A line is a command, its options and a study's folder, of which every run has a copy. `read` stands for a program that
reads a table. Modules are imported once: each run is a fork, which then ends as every interpreter does. Prints a line
of JSON per run.
"""

import ctypes
import json
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from study.store import Store
from study.store.reading import sealed
from tests.commands import mia_study

main = mia_study("store")

python = ctypes.pythonapi
python.PyInterpreterState_Get.restype = python.PyThreadState_New.restype = ctypes.c_void_p
python.PyThreadState_GetID.restype = ctypes.c_uint64
for function in ("PyThreadState_New", "PyThreadState_GetID", "PyThreadState_Clear", "PyThreadState_Delete"):
    getattr(python, function).argtypes = [ctypes.c_void_p]


def thread_states():
    """How many this interpreter has made so far.

    It makes one for each thread, and one whenever a thread that Python did not start needs the interpreter's lock.
    """
    state = python.PyThreadState_New(python.PyInterpreterState_Get())
    number = python.PyThreadState_GetID(state)
    python.PyThreadState_Clear(state)
    python.PyThreadState_Delete(state)
    return number


def command(folder, name, *options):
    """Run it, and write down how often another thread needed the interpreter; its exit code."""
    before = thread_states()
    if name == "read":
        store = Store.at(str(folder))
        print(len(sealed(store, "scores", store.passes())), "rows")
        code = 0
    else:
        code = main([name, *options, str(folder)])
    (folder.parent / "entered").write_text(str(thread_states() - before - 1))
    return code


def run(line):
    """Exit code (negative: the signal that killed it), what it printed, how often threads needed the interpreter."""
    *words, original = shlex.split(line)
    place = Path(tempfile.mkdtemp())
    folder = shutil.copytree(original, place / "small")
    child = os.fork()
    if not child:
        for number, file in ((1, "output"), (2, "errors")):
            os.dup2(os.open(place / file, os.O_CREAT | os.O_WRONLY), number)
        sys.exit(command(folder, *words))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = {file: (place / file).read_text() for file in ("output", "errors", "entered")}
    shutil.rmtree(place)
    return {"command": words[0], "code": code, **texts}


if __name__ == "__main__":
    runs, *lines = sys.argv[1:]
    for line in lines * int(runs):
        print(json.dumps(run(line)), flush=True)
