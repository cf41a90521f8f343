"""`python -m benchmarks.whole_study [--rounds 3] [--quick]`: one real study, run three ways.

- scripts: a process for each cell (train_size x epochs x arm x replicate), as many at once as there are cores
  (`benchmarks.plain_cell`), as LOGAN's authors ran theirs.
- grid: Ray Tune as its documentation shows it, a trial for each cell, with Ray's own MLflow callback.
- sweep: `mia-study sweep`, with MLflow and a sealed store; its controls are off, since the others have none.

All three take the same training steps by the same code and draw from the same streams, so they must find the same: the
trained weights, AUC of every attack and KID are compared bit by bit in every round, and the command fails otherwise.
What differs is what is done once and what again and again. Each way is timed from the start of its command to its end,
imports and Ray's start included. Ways take turns in random order; ratios are taken inside rounds.
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.measuring import Spent, spread, table, timed_module
from benchmarks.plain_cell import run as run_cell
from benchmarks.plain_cell import weights_digest
from mia_core.data import load_pool
from study.design.study_design import Design
from study.design.trials import Trial
from study.spec.study_file import parse
from study.store import Store, read

STUDY: dict[str, Any] = {
    "study": "whole",
    "seed": 2019,
    "data": {"name": "digits", "size": 16},
    "split": {"name": "panel", "reference": 400, "unseen": 300, "panel": 440, "probability": 0.159, "known": 30},
    "target": {"name": "dcgan", "width": 16},
    "training": {"batch_size": 32},
    "factors": {
        "train_size": [100, 280],
        "epochs": [20, 40, 80],
        "defense": ["none", {"name": "dropout", "rate": 0.5}],
    },
    "replicates": 1,
    "attacks": [
        "white_box",
        {"name": "euclidean", "generated": 2000},
        {
            "name": "local_gan",
            "steps": [50, 150],
            "generated": 1000,
            "surrogate": {"name": "dcgan", "width": 8},
            "at": {"epochs": "last"},
        },
    ],
    "quality": {"measures": ["kid"], "against": ["unseen"], "samples": 300},
    "controls": {"blind": False, "nulls": 0, "copycat": False},
}
QUICK = {"train_size": [100], "epochs": [1, 2], "defense": ["none"]}
"""Factors of a study that takes a minute, to try the command."""

WAYS = ("scripts", "grid", "sweep")
Found = dict[str, dict[str, Any]]
"""What was found of each cell, by trial id."""


def cells(document: Mapping[str, Any]) -> Found:
    """Each trial of a study as plain values, by its id."""
    spec = parse(document)
    design = Design(spec, load_pool(spec.data))
    return {trial.trial_id: _cell(design, trial) for trial in design.trials}


def _cell(design: Design, trial: Trial) -> dict[str, Any]:
    spec, resolved = design.spec, design.spec.resolved
    streams: dict[str, list[str]] = {}
    for wanted in trial.attacks:
        streams.setdefault(wanted.run_id, []).append(wanted.label)
    attacks = {wanted.run_id: wanted.choice.to_dict() for wanted in trial.attacks if wanted.choice}
    return {
        "seed": spec.seed,
        "data": resolved["data"],
        "split": resolved["split"],
        "train_sizes": spec.train_sizes,
        "train_size": trial.cell.train_size,
        "epochs": trial.epochs,
        "replicate": trial.replicate,
        "target": trial.cell.target.to_dict(),
        "training": resolved["training"],
        "defense": trial.cell.arm.to_list() or "none",
        "quality": resolved["quality"],
        "attacks": [{"attack": attacks[name], "stream": name, "labels": labels} for name, labels in streams.items()],
    }


# The three ways, each in a command of its own


def scripts(folder: Path) -> None:
    """A process for each cell, as many at once as there are cores."""

    def script(trial_id: str, cell: Mapping[str, Any]) -> None:
        given, out = folder / f"cell-{trial_id}.json", folder / f"found-{trial_id}.json"
        given.write_text(json.dumps(cell))
        subprocess.run([sys.executable, "-m", "benchmarks.plain_cell", str(given), str(out)], check=True)

    wanted = json.loads((folder / "cells.json").read_text())
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(script, wanted, wanted.values()))
    found = {trial_id: json.loads((folder / f"found-{trial_id}.json").read_text()) for trial_id in wanted}
    (folder / "found.json").write_text(json.dumps(found))


def grid(folder: Path) -> None:
    """A plain Tune grid over the cells, on a Ray of its own; it would wait for one that ran on this machine before."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    def trainable(config: dict[str, Any]) -> None:
        tune.report(run_cell(wanted[config["trial"]]))

    wanted = json.loads((folder / "cells.json").read_text())
    ray.init(address="local", ignore_reinit_error=True)
    callback = MLflowLoggerCallback(f"sqlite:///{folder}/mlflow.db", experiment_name="grid")
    results = tune.Tuner(
        trainable,
        param_space={"trial": tune.grid_search(list(wanted))},
        run_config=tune.RunConfig(name="grid", storage_path=str(folder), callbacks=[callback]),
    ).fit()
    keys = {
        trial_id: [label for item in cell["attacks"] for label in item["labels"]] for trial_id, cell in wanted.items()
    }
    found = {
        result.config["trial"]: {key: result.metrics[key] for key in ("weights", "kid", *keys[result.config["trial"]])}
        for result in results
    }
    (folder / "found.json").write_text(json.dumps(found))


def swept(folder: Path) -> Found:
    """What a sweep found, from its store."""
    store = Store(folder / "results", STUDY["study"])
    found: Found = {}
    for row in read(store.root, store.study, "attacks").to_dict("records"):
        found.setdefault(row["trial_id"], {})[row["attack"]] = row["auc"]
    for row in read(store.root, store.study, "quality").to_dict("records"):
        found[row["trial_id"]][row["measure"]] = row["value"]
    for trial_id, values in found.items():
        tensors, _ = store.sealed_tensors(f"targets/{trial_id}", trial_id)
        values["weights"] = weights_digest(tensors)
    return found


def run(way: str, document: Mapping[str, Any]) -> tuple[Spent, Found]:
    """What a way took, and what it found."""
    with tempfile.TemporaryDirectory(prefix=f"{way}-") as scratch:
        folder = Path(scratch)
        if way == "sweep":
            (folder / "study.yaml").write_text(yaml.safe_dump(document))
            return timed_module("study.sweep", "study.yaml", folder=folder), swept(folder)
        (folder / "cells.json").write_text(json.dumps(cells(document)))
        spent = timed_module("benchmarks.whole_study", "--way", way, "--folder", scratch, folder=folder)
        return spent, json.loads((folder / "found.json").read_text())


def differences(found: Mapping[str, Found]) -> list[str]:
    """Where a way found something else than the first one, in one line each."""
    first, *others = found
    lines = []
    for way in others:
        for trial_id in found[first].keys() | found[way].keys():
            one, other = found[first].get(trial_id, {}), found[way].get(trial_id, {})
            for key in one.keys() | other.keys():
                if one.get(key, math.nan) != other.get(key, math.nan):
                    lines.append(f"trial {trial_id}: {key} is {one.get(key)} by {first}, {other.get(key)} by {way}")
    return sorted(lines)


def report(spent: Mapping[str, Sequence[Spent]], trials: int) -> None:
    """Trials per core-hour over those of the scripts; a core-hour of CPU time, and of the machine's cores."""
    cores = len(os.sched_getaffinity(0))
    took = {way: np.array([(one.cpu, one.wall) for one in found]).T for way, found in spent.items()}
    rows = []
    for way, (cpu, wall) in took.items():
        over_scripts = [spread(base / own) for base, own in zip(took["scripts"], (cpu, wall), strict=True)]
        over_grid = [spread(base / own) for base, own in zip(took["grid"], (cpu, wall), strict=True)]
        rows.append([way, *over_scripts, *over_grid, spread(cpu / (wall * cores))])
    table(
        f"{trials} trials on {cores} cores, {len(spent[WAYS[0]])} rounds: trials per core-hour of CPU or wall time",
        ["way", "CPU, over scripts", "wall, over scripts", "CPU, over grid", "wall, over grid", "cores in use"],
        rows,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; exit code 1 when the ways do not find the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole_study", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--replicates", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a study of two trials")
    parser.add_argument("--way", choices=("scripts", "grid"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.way:
        {"scripts": scripts, "grid": grid}[options.way](options.folder)
        return 0
    document = {**STUDY, "replicates": options.replicates}
    if options.quick:
        document["factors"] = QUICK
    order = random.Random(0)
    spent: dict[str, list[Spent]] = {way: [] for way in WAYS}
    for number in range(options.rounds):
        found: dict[str, Found] = {}
        for way in order.sample(WAYS, len(WAYS)):
            took, found[way] = run(way, document)
            spent[way].append(took)
        lines = differences({way: found[way] for way in WAYS})
        for line in lines:
            print(line)
        if lines:
            return 1
        values = sum(len(of_trial) for of_trial in found[WAYS[0]].values())
        print(f"round {number + 1}: {values} weights, AUCs and KIDs are the same to the last bit in all three ways")
    report(spent, len(found[WAYS[0]]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
