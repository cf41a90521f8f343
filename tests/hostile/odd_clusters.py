"""Odd values in cluster files: each in every place of our three, before `cluster check` and `cluster down`."""

import contextlib
import copy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.run import cluster
from tests.commands import mia_study
from tests.hostile.counting import EVERY, TRACEBACK, USELESS, WRONG, Outcome, Sample, asked, is_bug
from tests.hostile.odd_studies import ABSENT, ODD, paths
from tests.study.test_cluster_check import FILES, PROJECT, filled

LONG = ("a long list", "a long word")
READERS = ("check", "down")
VITAL = ("provider.type", "provider.head_ip", "provider.worker_ips", "auth.ssh_private_key", "file_mounts",
         "head_start_ray_commands", "worker_start_ray_commands", "available_node_types")  # fmt: skip
"""Without one of these no cluster of ours starts, or a stranger may enter it: `check` may not pass it."""


def clusters(root: Path, sample: Sample = EVERY) -> Iterator[Outcome]:
    """Each odd value in each place of each file."""
    documents = {name: yaml.safe_load(filled(name)) for name in FILES}
    every = [(name, kind, path) for name, document in documents.items() for path in paths(document) for kind in ODD
             if kind not in LONG or len(path) < 3]  # fmt: skip
    with contextlib.chdir(PROJECT), pytest.MonkeyPatch.context() as patch:
        _prepare(root, patch)
        for _, (name, kind, path) in sample.of(every):
            document = copy.deepcopy(documents[name])
            _put(document, path, ODD[kind], kind == ABSENT)
            file = root / "cluster.yaml"
            fast = not isinstance(ODD.get(kind), str) or ODD[kind].isprintable()  # it writes no lone surrogate
            file.write_text(yaml.dump(document, Dumper=yaml.CSafeDumper if fast else yaml.SafeDumper, width=10**6))
            for reader in READERS:
                yield _outcome(f"cluster: {kind}", f"{name}: {'.'.join(map(str, path))}", path, reader, file)


def _prepare(root: Path, patch: pytest.MonkeyPatch) -> None:
    """A home with key and token; and no program of others is started."""
    for name in (".ssh/mia-study.pem", ".ray/auth_token"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch(0o600)
    patch.setenv("HOME", str(root))
    done = subprocess.CompletedProcess([], 0, b"", b"")
    patch.setattr(cluster.subprocess, "run", lambda *words, **named: done)


def _put(document: Any, path: tuple[Any, ...], value: Any, absent: bool) -> None:
    for key in path[:-1]:
        document = document[key]
    if absent:
        del document[path[-1]]
    else:
        document[path[-1]] = value


def _outcome(kind: str, case: str, path: tuple[Any, ...], reader: str, file: Path) -> Outcome:
    code, said = asked(lambda: mia_study("cluster")([reader, str(file)]))
    lines = [line for line in said.splitlines() if line]
    fault = None
    if is_bug(code, said):
        fault = TRACEBACK
    elif code == 2 and not all(line.isprintable() and line.startswith("refused: ") for line in lines):
        fault = USELESS
    elif reader == "check" and code == 0 and kind != "cluster: a variable" and ".".join(map(str, path)) in VITAL[:1]:
        fault = WRONG
    return Outcome(kind, f"{case}, {reader}", fault, said)
