"""Odd environments: each variable that names a folder, an address or a number with each odd value, before commands.

Nothing is started for real: a sweep ends where it would take the lock, after all that it refuses.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from mia_core import hardware
from study.run.local_ray import ray
from study.run.session import Session
from tests.commands import mia_study
from tests.hostile.counting import TRACEBACK, USELESS, WRONG, Outcome, asked, is_bug
from tests.small import SMALL

FOLDERS = ("HOME", "TMPDIR", "RAY_TMPDIR", "XDG_CACHE_HOME", "MIA_STUDY_CACHE")
OTHERS = ("RAY_ADDRESS", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_REGION",
          "AWS_CONFIG_FILE", "AWS_CA_BUNDLE", "COLUMNS", "TERM", "NO_COLOR", "LANG", "TZ",
          "MLFLOW_TRACKING_URI")  # fmt: skip
VALUES = {
    "absent": None, "empty": "", "a word": "x", "a tilde": "~", "a tilde of nobody": "~nobody-here/x",
    "a variable": "$NO_ONE/x", "a number": "-1", "a huge number": "9" * 400, "an absent folder": "/proc/nowhere/at/all",
    "a file": "FILE", "a pipe": "PIPE", "a device": "/dev/null", "a folder of the kernel": "/proc",
    "a loop of links": "LOOP", "a long folder": "/tmp/" + "x" * 200,
    "control characters": "\x1b[2J\n", "no text": b"\xff\xfe".decode("utf-8", "surrogateescape"), "a URI": "http://[::1",
}  # fmt: skip
COMMANDS = {
    "plan": lambda results: mia_study("sweep")(["small.yaml", "--plan", "--set", f"results={results}"]),
    "sweep": lambda results: mia_study("sweep")(["small.yaml", "--set", f"results={results}"]),
    "status": lambda results: mia_study("status")([f"{results}/small"]),
    "check": lambda results: mia_study("store check")([f"{results}/small"]),
    "pictures": lambda results: mia_study("sweep")(["pictures.yaml", "--plan", "--set", f"results={results}"]),
    "config": lambda results: mia_study("config")(["small.yaml"]),
}
SECONDS = 30.0
GROUPS = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.max", "memory.limit_in_bytes")
NUMBERS = (
    "",
    "x",
    "max",
    "-1",
    "0",
    "0 0",
    "1 0",
    "1",
    "max max",
    "9" * 400,
    "1e9",
    "\xff",
    "100000 100000 1",
    "-1 -1",
)


def variables(root: Path, most: int | None = None) -> Iterator[Outcome]:
    """Each variable with each value, before commands in turn; results in a folder, and in a bucket for AWS_*."""
    every = [(name, kind) for name in (*FOLDERS, *OTHERS) for kind in VALUES]
    turn = count()
    ray.shutdown()
    with contextlib.chdir(root), pytest.MonkeyPatch.context() as patch:
        _prepare(root, patch)
        for number, (name, kind) in enumerate(every):
            if most is None or number * most // len(every) != (number - 1) * most // len(every):
                for _ in range(2):
                    command = list(COMMANDS)[next(turn) % len(COMMANDS)]
                    yield _outcome(root, name, kind, command)


def _prepare(root: Path, patch: pytest.MonkeyPatch) -> None:
    """A study, one of pictures, odd things to name; a sweep stops where it would begin."""
    import numpy as np
    from PIL import Image

    (root / "small.yaml").write_text(SMALL)
    pictures = SMALL.replace(
        "data: {name: digits, size: 8}", f"data: {{name: image_folder, root: {root}/pictures, size: 8}}"
    )
    (root / "pictures.yaml").write_text(pictures)
    (root / "pictures").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "pictures" / "one.png")
    (root / "FILE").write_text("")
    os.mkfifo(root / "PIPE")
    (root / "LOOP").symlink_to("LOOP")
    patch.setattr(Session, "sweep", lambda *arguments: 0)
    for name in (*FOLDERS, *OTHERS, "NO_ONE"):
        patch.delenv(name, raising=False)
    patch.setenv("HOME", str(root))


def _outcome(root: Path, name: str, kind: str, command: str) -> Outcome:
    value = VALUES[kind]
    results = "s3://bucket/x" if name.startswith("AWS_") else f"{root}/results"
    before = set(root.iterdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", None)
        if name.startswith("AWS_"):
            for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(key, "x")
            patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        if value is None:
            patch.delenv(name, raising=False)
        else:
            patch.setenv(name, str(root / value) if value in ("FILE", "PIPE", "LOOP") else value)
        started = time.monotonic()
        code, said = asked(lambda: COMMANDS[command](results))
    lines = [line for line in said.splitlines() if line]
    fault = None
    if is_bug(code, said):
        fault = TRACEBACK
    elif (code == 2 and (len(lines) != 1 or not lines[0].isprintable())) or time.monotonic() - started > SECONDS:
        fault = USELESS
    elif code == 1 and command in ("plan", "sweep", "pictures", "config") and "goes on" in said:
        fault = USELESS  # the same command would only say the same again
    elif [path for path in set(root.iterdir()) - before if path.name[0] in "~$"]:
        fault = WRONG
    return Outcome(f"variable: {kind}", f"{name}, {command}", fault, said)


def limits(root: Path, most: int | None = None) -> Iterator[Outcome]:
    """Odd contents of a container's files: processors and memory are never none, nor more than the machine has."""
    there = os.cpu_count() or 1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    own = root / "own"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "PROC", own)
        patch.setattr(hardware, "MOUNT", root)
        for groups in ("0::/\n", "0::/../..\n", "5:cpu:/\n4:memory:/\n", "x\n", "", "0::/a\0b\n"):
            own.write_text(groups)
            for file in GROUPS:
                for text in NUMBERS:
                    (root / file).write_text(text, encoding="latin-1")
                    code, said = asked(lambda: print(hardware.cpus(), hardware.memory_bytes()) or 0)
                    found = said.split() if code == 0 else []
                    wrong = not found or not (1 <= int(found[0]) <= there[0] and 1 <= int(found[1]) <= there[1])
                    fault = TRACEBACK if is_bug(code, said) else WRONG if wrong else None
                    yield Outcome("a container's limits", f"{groups!r}, {file}: {text[:20]!r}", fault, said)
                (root / file).unlink()
