"""Nodes of a running cluster: those that may still come, and that all run one software."""

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mia_core import paths
from mia_core.errors import Refused
from mia_core.hashing import FORMAT
from study.machine import PROJECT
from study.plan.capacity import CPU, Machine, Machines
from study.spec import documents
from study.spec.section_models import ComputeSpec

SECONDS = 120.0
"""How long a node may take to answer; first imports from a cold disk are slow."""

MOST_NODES = 10_000
"""Of one type; a cluster file may say any number."""

BOOTSTRAP = "~/ray_bootstrap_config.yaml"
"""Where `ray up` leaves the cluster file on the head, with Ray's defaults filled in."""


def may_start_gpus() -> bool:
    """Whether this process is on the head of a cluster that `ray up` made, whose autoscaler may start GPUs."""
    return any(node.get("max_workers") != 0 and node.get("resources", {}).get("GPU") for node in _types().values())


def machines(compute: ComputeSpec) -> Machines:
    """The nodes of the running cluster, and those that its autoscaler may start; `plan` counts by these."""
    live = [_machine(node) for node in ray.nodes() if node["Alive"]]
    types = _types()
    allowed = [
        Machine(int(own.get("CPU", 0)), int(own.get("GPU", 0)), int(own["memory"]) if own.get("memory") else None)
        for node in types.values()
        for own in [node.get("resources", {})]
        for _ in range(min(MOST_NODES, int(node.get("max_workers") or 0)))
    ]
    workers = [node for node in live if node.cpus]
    nodes = [*live, *allowed[len(workers) :]]
    where = f"on the largest of {len(nodes)} nodes of the cluster"
    gpus = any(node.gpus for node in nodes) and compute.gpus_per_trial != 0
    if not gpus:
        nodes = [replace(node, gpus=0) for node in nodes]
    return Machines(nodes, where, None if gpus else CPU, cluster=True)


def _machine(node: Mapping[str, Any]) -> Machine:
    """Ray leaves a part of a node's memory for the system, and another for its objects, which trials share."""
    has = node["Resources"]
    memory = int(has.get("memory", 0) + has.get("object_store_memory", 0))
    return Machine(int(has.get("CPU", 0)), int(has.get("GPU", 0)), memory or None, node["NodeManagerHostname"])


def _types() -> Mapping[str, Any]:
    """Of the cluster file, on the head of a cluster that `ray up` made; empty elsewhere."""
    try:
        path = paths.expanded(BOOTSTRAP)
    except Refused:  # nobody's home is known, so no `ray up` left it there
        return {}
    return (documents.load(path).get("available_node_types") if path.is_file() else None) or {}


def software(packages: Sequence[str] = ()) -> dict[str, str]:
    """Versions that must be equal on all nodes; torch's without its build, which differs between CPU and GPU nodes.

    packages: further ones, whose classes a study takes.
    """
    digest = hashlib.sha256()
    for path in sorted(path for room in ("mia_core", "study") for path in (PROJECT / room).rglob("*.py")):
        digest.update(str(path.relative_to(PROJECT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return {
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "numpy": np.__version__,
        "ray": ray.__version__,
        "pyarrow": pa.__version__,
        "format": str(FORMAT),
        "source": digest.hexdigest()[:16],
        **{f"{PACKAGE}{name}": _version(name) for name in packages},
    }


PACKAGE = "the package "
"""Begins the keys of packages whose classes a study takes."""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def require_alike(own: Mapping[str, str]) -> None:
    """ValueError, in one line that names the node, unless all nodes of the running cluster have this software."""
    ask = ray.remote(num_cpus=0, max_retries=0)(partial(software, _packages(own)))
    asked = {
        _name(node): ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"]
    }
    for name, answer in asked.items():
        try:
            theirs = ray.get(answer, timeout=SECONDS)
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]
            raise Refused(f"node {name} cannot say its versions: {last}; install the project there") from None
        _require(own, theirs, name)


def checked(run: Callable[..., None], own: Mapping[str, str]) -> Callable[..., None]:
    """The same Tune function, refusing first on a node that has other software: one may come after the start."""

    def run_alike(config: Mapping[str, Any], **arguments: Any) -> None:
        _require(own, software(_packages(own)), platform.node())
        run(config, **arguments)

    return run_alike


def _packages(own: Mapping[str, str]) -> list[str]:
    return [name.removeprefix(PACKAGE) for name in own if name.startswith(PACKAGE)]


def _require(own: Mapping[str, str], theirs: Mapping[str, str], name: str) -> None:
    for key, value in own.items():
        if theirs.get(key) != value:
            raise Refused(
                f"node {name} has {key} {theirs.get(key)}, and this driver {value}; "
                "`ray up` the same checkout and constraints.txt on all nodes"
            )


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeName']} ({node['NodeManagerHostname']})"
