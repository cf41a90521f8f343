"""A search: the points it asks for, what came out of them, and the front that no other point beats.

A search asks Optuna for a few points at a time, trains and attacks them as any sweep does, and reports their results
back. It keeps nothing of its own: the points asked so far are in the resolved spec, which is published before they run,
and what came out of them is sealed in the store. A killed search goes on from there.
"""

import contextlib
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from mia_core.errors import Refused
from mia_core.settings import plain
from mia_core.streams import Streams
from study.design.points import levels_of
from study.design.study_design import Design
from study.design.work import Work, missing
from study.spec.objectives import Objective, Values
from study.spec.sampling import Drawn, combinations
from study.spec.study_file import Spec, parse, parse_stored
from study.store import Damaged, Store, read
from study.store.reading import trial_tables
from study.store.seals import SWEPT
from study.terminal import Console
from study.tracking.addresses import public

FRESH_REPLICATES = 5
NOTE = "note: a search favors what came out well by chance, so values of its best points are optimistic"


def begun(spec: Spec, store: Store) -> Spec:
    """A search with the points that its store has, or the first ones; any other study as it is.

    ValueError when the points there are of other factors.
    """
    if spec.search is None or spec.points:
        return spec
    stored: dict[str, Any] = {}
    with contextlib.suppress(ValueError, Damaged):  # a new study, or a torn one: it asks the same points again
        stored = store.resolved()
    if "search" not in stored:
        return _asked(spec, [])
    if stored["factors"] != json.loads(json.dumps(spec.resolved["factors"])):
        raise Refused(f"search: the points in {store.uri} are of other factors; give the study another name")
    return _with_points(spec, stored["search"]["drawn"])


def go_on(
    design: Design,
    store: Store,
    publish: Callable[[Design], None],
    run: Callable[[Design, Mapping[str, Sequence[Work]]], None],
) -> Design:
    """Run what is missing, ask for more points, until there are as many as the search wants; the design of all.

    publish: leaves the design's table behind, with what can be derived by then. run: does work, by trajectory, the same
    with the table, and leaves a failure behind where it could not; where it leaves neither, it was stopped, and so is
    the search.
    """
    tried: set[str] = set()
    known: list[Values] = []
    assert design.spec.search is not None
    while True:
        publish(design)
        lacking = missing(design, store)
        todo = {name: works for name, works in lacking.items() if not _trials(works) <= tried}
        if todo:
            run(design, todo)
            left, failed = missing(design, store), store.failed()
            if any(name in left and name not in failed for name in todo):
                return design
            tried = tried.union(*map(_trials, todo.values()))
        if len(design.spec.points) >= design.spec.search.points:
            return design
        known = outcomes(store, design.spec, read(store.root, store.study, "design"), known)
        design = Design(_asked(design.spec, known), design.pool)


def _trials(works: Sequence[Work]) -> set[str]:
    """Ids: points that differ in epochs alone are of one trajectory, of which a part may have been tried."""
    return {work.trial.trial_id for work in works}


def outcomes(store: Store, spec: Spec, design: pd.DataFrame, known: Sequence[Values] = ()) -> list[Values]:
    """What came out of each point of a search, in order: means over replicates. known: of its first points.

    design: its table. A point has nothing while a trial of it lacks results, and if its arm does not fit its target.
    """
    assert spec.search is not None
    points = design[design["kind"] == "point"]
    trials = {int(str(number)): list(rows["trial_id"]) for number, rows in points.groupby("id")}
    wanted = design[design["kind"].isin(["attack", "measure"])]
    ids = dict(zip(zip(wanted["trial_id"], wanted["label"], strict=True), wanted["id"], strict=True))
    found = []
    for number in range(len(spec.points)):
        before = known[number] if number < len(known) else None
        found.append(before or _outcome(store, trials.get(number, []), spec.search.goals, ids))
    return found


def _outcome(store: Store, trials: Sequence[str], objectives: Sequence[Objective], ids: Mapping[Any, str]) -> Values:
    sums = [0.0] * len(objectives)
    for trial in trials:
        _, tables = trial_tables(store, trial, ("attacks", "quality"))
        for position, objective in enumerate(objectives):
            label, column = objective.attack or (objective.measure, "value")
            table, key = ("attacks", "attack_id") if objective.attack else ("quality", "measure_id")
            rows = tables[table]
            values = rows.loc[rows[key] == ids.get((trial, label)), column].dropna().tolist() if len(rows) else []
            if not values:
                return None
            sums[position] += values[0]
    if not trials:
        return None
    return tuple(goal.of_mean(value / len(trials)) for goal, value in zip(objectives, sums, strict=True))


def _asked(spec: Spec, known: Sequence[Values]) -> Spec:
    """With the next batch of points; `known` came out of those that there are."""
    assert spec.search is not None
    count = min(spec.search.batch, spec.search.points - len(known))
    points = [dict(zip(spec.drawn, values, strict=True)) for values in zip(*spec.drawn.values(), strict=True)]
    seed = Streams("search", spec.seed).seed(spec.search.sampler, len(points)) % 2**32
    from study.run.asking import ask  # Optuna, which only a search should wait for

    levels = {name: spec.factors.levels[name] for name in spec.factors.varied}
    points += ask(spec.search, levels, points, known, count, seed)
    return _with_points(spec, {name: [point[name] for point in points] for name in spec.factors.varied})


def _with_points(spec: Spec, drawn: Drawn) -> Spec:
    again = parse({**spec.resolved, "search": {**spec.resolved["search"], "drawn": drawn}})
    return replace(
        again, results=spec.results, tracking=spec.tracking, experiment=spec.experiment, compute=spec.compute
    )


def swept(spec: Spec) -> dict[str, Any]:
    """What a sweep was given besides what determines results, without secrets, for the pointer and `confirmation`."""
    tracking = None if spec.tracking is None else public(spec.tracking)
    return {"tracking": tracking, "experiment": spec.experiment, "compute": plain(spec.compute)}


# What it found


def front(known: Sequence[Values], objectives: Sequence[Objective]) -> list[int]:
    """Numbers of the points that no other point is better than: as good in every objective, and better in one."""
    signs = [1 if objective.direction == "minimize" else -1 for objective in objectives]
    costs = {n: [s * x for s, x in zip(signs, values, strict=True)] for n, values in enumerate(known) if values}
    return [number for number, own in costs.items() if not any(_dominates(other, own) for other in costs.values())]


def _dominates(other: Sequence[float], own: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(other, own, strict=True)) and list(other) != list(own)


def show(console: Console, store: Store) -> None:
    """Print the Pareto front of a search's store, and how to judge a point of it without the search's optimism."""
    spec = _searched(store)
    assert spec.search is not None
    goals = spec.search.goals
    design = read(store.root, store.study, "design")
    known = outcomes(store, spec, design)
    best = sorted(front(known, goals), key=lambda number: known[number] or ())
    lacking = sum(values is None for values in known)
    more = f", {lacking} without results" if lacking else ""
    words = ", ".join(map(str, goals))
    console.say("", f"Pareto front ({words}): {len(best)} of {len(known)} points{more}")
    trials = design[design["kind"] == "point"].drop_duplicates("id").set_index("id")["trial_id"]
    rows = _levels_in_words(spec).loc[best].rename_axis("point").reset_index()
    for position, goal in enumerate(goals):
        rows[goal.name] = [f"{values[position]:.4g}" for values in (known[number] or () for number in best)]
    rows["trial"] = [trials[str(number)] for number in best]
    console.say(*rows.to_string(index=False).split("\n"))
    console.say(f"{NOTE};")
    command = f"{shlex.join(['mia-study', 'search', store.uri, '--confirm', 'POINT'])} > confirm.json"
    console.say(f"confirm:  {command}, then mia-study sweep confirm.json")


def _levels_in_words(spec: Spec) -> pd.DataFrame:
    """One row a point, one column a varied factor, in words; - where it means nothing to the point's arm."""
    words = levels_of(spec).map(lambda level: f"{level:g}" if isinstance(level, float) else str(level))
    return words.where(used_levels(spec).notna(), "-")


def used_levels(spec: Spec) -> pd.DataFrame:
    """As `levels_of`, with null for a setting of a defense that the point's arm does not have."""
    found = levels_of(spec)
    arms = [spec.cells[number].arm.defense.split("+") for number, _ in spec.points]
    for name in spec.drawn:
        if name.startswith("defense."):
            found[name] = found[name].where(pd.Series([name.split(".")[1] in arm for arm in arms], dtype=bool))
    return found


def confirming(study: str, number: int) -> str:
    """The name of the study that confirms a point of a search."""
    return f"{study}_point{number}"


def confirmation(store: Store, number: int) -> dict[str, Any]:
    """The study that confirms a point of a search, as a study file.

    Its results are beside the search's, where the search's report looks for them; tracking (without an account),
    experiment and compute are those of the search's last sweep, as far as that was kept.
    """
    return {**confirming_study(store, number), "results": store.root, **store.pointer().get(SWEPT, {})}


def confirming_study(store: Store, number: int) -> dict[str, Any]:
    """A study of one point of a search, under another seed: new splits, coins and initializations, in 5 replicates.

    ValueError for a point that there is not.
    """
    spec = _searched(store)
    if not 0 <= number < len(spec.points):
        raise Refused(f"--confirm {number}: the search has points 0 to {len(spec.points) - 1}")
    point = combinations(spec.drawn, spec.factors)[number]
    used = used_levels(spec).loc[number].notna()
    fixed = {name: [level] for name, level in point.items() if used.get(name, True)}
    resolved = {key: value for key, value in spec.resolved.items() if key != "search"}
    return {
        **resolved,
        "study": confirming(spec.study, number),
        "seed": spec.seed + 1,
        "factors": fixed,
        "replicates": max(FRESH_REPLICATES, spec.replicates),
    }


def _searched(store: Store) -> Spec:
    spec = parse_stored(store.resolved())
    if spec.search is None:
        raise Refused(f"{store.uri}: is no search")
    return spec
