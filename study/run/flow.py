"""A sweep, from a study file to the last line: plan, refuse, run what is missing, track, sum up."""

import contextlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mia_core.data import load_pool
from mia_core.errors import Refused
from study.design.data_shown import recorded
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.trials import Trial
from study.design.work import Work, missing
from study.machine import code_versions, pick_device, require_home, versions
from study.outcomes import AGAIN, COMPLETE, INCOMPLETE, Stopped
from study.plan import cost, data_changes, overview
from study.plan.capacity import Machines
from study.plan.memory import Memory
from study.plan.outlook import Outlook
from study.run import failures, heartbeat, search
from study.run.measuring import feature_network, require_same_network
from study.spec.study_file import Spec, read
from study.store import Compactor, Damaged, Done, Store, compact
from study.store.collecting import drop_spent_checkpoints
from study.store.seals import SWEPT
from study.terminal import Console, duration
from study.verdicts import claims, controls

if TYPE_CHECKING:
    from study.run.scheduling import Events
    from study.tracking.aside import TrackerAside

ASK_SECONDS = 3600.0
NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a sweep is asked for, as on its command line. set: `key=value` overrides of the study file."""

    config: str
    set: Sequence[str] = ()
    preset: str | None = None
    plan: bool = False
    pilot: bool = False
    retry_failed: bool = False
    max_hours: float | None = None
    max_cost: float | None = None
    yes: bool = False
    retrain: bool = False
    address: str | None = None
    include_records: bool = False


def sweep(options: Options) -> int:
    """Plan, check, run; the exit code. Refused before anything ran, where something does not fit."""
    console = Console()
    pick_device()  # the extractor is trained in this process: on one thread, as in every other
    spec = read(options.config, options.set, options.preset)
    store = Store(spec.results, spec.study)
    store.reach()
    if spec.search:
        _refuse_of_a_search(options)
    with contextlib.ExitStack() as cluster:
        if options.address is not None:
            require_home()
        machines = Machines.here(spec.compute) if options.address is None else _join(cluster, options.address, spec)
        return _planned(spec, store, options, machines, console)


def _join(stack: contextlib.ExitStack, address: str, spec: Spec) -> Machines:
    """The nodes of a running cluster, which this process belongs to until the stack ends."""
    from study.run.local_ray import local_ray
    from study.run.nodes import machines

    stack.enter_context(local_ray(address, 0))
    return machines(spec.compute)


def _planned(spec: Spec, store: Store, options: Options, machines: Machines, console: Console) -> int:
    design = Design(search.begun(spec, store), load_pool(spec.data))
    machines.require(Memory.of(design))
    todo = missing(design, store)
    chosen = failures.failed(store, todo) if options.retry_failed else todo
    outlook = Outlook.of(design, store, chosen, machines=machines)
    if options.plan:
        overview.show(console, design, chosen, outlook)
        return COMPLETE
    if options.pilot and todo:
        chosen = cost.pilot(design, todo, outlook.estimate)
        outlook = Outlook.of(design, store, chosen, machines=machines)
    _refuse_lost_targets(chosen, options.retrain)
    outlook.require(options.max_hours, options.max_cost, options.pilot)
    _ask(outlook, options.yes, console)
    require_home()
    if options.address is None and (chosen or spec.search):
        from study.run.local_ray import require_room

        require_room()
    store.probe()
    with store.lock():
        return _sweep(design, store, outlook, chosen, options, machines, console)


def _refuse_of_a_search(options: Options) -> None:
    given = {
        "--pilot": options.pilot,
        "--retry-failed": options.retry_failed,
        "--max-hours": options.max_hours is not None,
        "--max-cost": options.max_cost is not None,
    }
    for flag in (flag for flag, is_given in given.items() if is_given):
        raise Refused(f"{flag}: a search chooses its trials as it goes on; search.points says how many at most")


def _refuse_lost_targets(todo: Mapping[str, Sequence[Work]], retrain: bool) -> None:
    lost = [work.trial for works in todo.values() for work in works if work.retrain]
    if lost and not retrain:
        raise Refused(
            f"{len(lost)} trials lack results and their targets were not kept (e.g. {lost[0].name}); "
            "--retrain trains them again"
        )


def _ask(outlook: Outlook, yes: bool, console: Console) -> None:
    """On a terminal, before long work; Refused unless the answer is yes. A script is never asked."""
    estimate = outlook.estimate
    least, about = estimate.least, "about" if estimate.wall is not None else "at least"
    if yes or least is None or least < ASK_SECONDS or not (console.is_terminal and sys.stdin.isatty()):
        return
    if console.input(f"{about} {duration(least)}; go on? [y/N] ", markup=False).strip().lower() not in ("y", "yes"):
        raise Refused("not wanted")


def _sweep(
    design: Design,
    store: Store,
    outlook: Outlook,
    todo: Mapping[str, Sequence[Work]],
    options: Options,
    machines: Machines,
    console: Console,
) -> int:
    from study.tracking.aside import TrackerAside
    from study.tracking.tracker import Tracker

    code, data, warn = code_versions(), recorded(design.spec, design.pool), _warning(console)
    _publish(design, store, code, data)
    for line in store.warnings():
        warn(line)
    spec = design.spec
    with TrackerAside(Tracker(store, spec.tracking, warn, options.include_records, spec.experiment), warn) as tracker:
        return _tracked(design, store, outlook, todo, options, machines, console, code, data, tracker)


def _tracked(
    design: Design,
    store: Store,
    outlook: Outlook,
    todo: Mapping[str, Sequence[Work]],
    options: Options,
    machines: Machines,
    console: Console,
    code: Mapping[str, str],
    data: Mapping[str, str],
    tracker: "TrackerAside",
) -> int:
    if todo or design.spec.search:
        if options.pilot:
            console.say(f"pilot: {_name(todo)}")
        else:
            overview.show(console, design, todo, outlook)
        compactor = Compactor(store)

        sealed: list[str] = []

        def log(trial_id: str) -> None:
            sealed.append(trial_id)
            tracker.log(trial_id)
            compactor.count()

        def run(design: Design, todo: Mapping[str, Sequence[Work]]) -> None:
            _run(design, store, todo, code, _events(design, todo, log, tracker), options.address, machines, console)

        try:
            if design.spec.search:
                design = _search(design, store, code, data, run, options.address)
            else:
                run(design, todo)
        except (Refused, Damaged) as error:
            if sealed:
                raise Stopped(str(error)) from error
            raise
        tracker.catch_up()
        compact(store)
    left = missing(design, store)
    drop_spent_checkpoints(store)
    tracker.finish(complete=not left)
    if options.pilot and left:
        return _after_pilot(design, store, todo, left, machines, console)
    _summary(design, store, left, tracker.behind, console)
    return INCOMPLETE if left else COMPLETE


def _publish(design: Design, store: Store, code: Mapping[str, str], data: Mapping[str, str]) -> None:
    data_changes.keep(store, design.pool)
    about = {**code, "versions": versions(), "data": data, SWEPT: search.swept(design.spec)}
    store.publish(design.hash, design.spec.resolved, design_rows(design), about)


def _events(
    design: Design, todo: Mapping[str, Sequence[Work]], log: Callable[[str], None], tracker: "TrackerAside"
) -> "Events":
    """What a scheduler tells: of trajectories by id, of sealed trials by theirs."""
    from study.run.scheduling import Events
    from study.tracking.run_content import Begun

    def trained(name: str) -> list[Trial]:
        return [work.trial for work in todo[name] if work.train]

    return Events(
        began=lambda name: tracker.begin(lambda: [Begun.of(design, trial) for trial in trained(name)]),
        sealed=log,
        failed=lambda name: tracker.end([trial.trial_id for trial in trained(name)]),
    )


def _search(
    design: Design,
    store: Store,
    code: Mapping[str, str],
    data: Mapping[str, str],
    run: Callable[[Design, Mapping[str, Sequence[Work]]], None],
    address: str | None,
) -> Design:
    """Batch after batch, on one Ray that starts with the first; the design of all points."""
    from study.run.local_ray import local_ray

    with contextlib.ExitStack() as ray:

        def run_batch(design: Design, todo: Mapping[str, Sequence[Work]]) -> None:
            ray.enter_context(local_ray(address, design.pool.images.nbytes))
            run(design, todo)

        return search.go_on(design, store, lambda design: _publish(design, store, code, data), run_batch)


def _name(todo: Mapping[str, Sequence[Work]]) -> str:
    """Of the longest trial of the first trajectory."""
    return next(iter(todo.values()))[-1].trial.name


def _after_pilot(
    design: Design,
    store: Store,
    todo: Mapping[str, Sequence[Work]],
    left: Mapping[str, Sequence[Work]],
    machines: Machines,
    console: Console,
) -> int:
    """Plan again, or name what failed."""
    if any(name in left for name in todo):
        failures.show(console, store, {name: left[name] for name in todo if name in left})
        return INCOMPLETE
    console.say("", f"{_name(todo)} is done. What is left:", "")
    overview.show(console, design, left, Outlook.of(design, store, left, machines=machines))
    return COMPLETE


def _warning(console: Console) -> Callable[[str], None]:
    return lambda line: console.say(f"warning: {line}")


def _run(
    design: Design,
    store: Store,
    todo: Mapping[str, Sequence[Work]],
    code: Mapping[str, str],
    events: "Events",
    address: str | None,
    machines: Machines,
    console: Console,
) -> None:
    from study.run.progress import Progress
    from study.run.scheduling import schedule

    if any(work.takes_extractor for works in todo.values() for work in works):
        require_same_network(design, store, feature_network(design, store)[1])
    outlook = Outlook.of(design, store, todo, machines=machines)
    expected = cost.expected(outlook.estimate, todo)
    at_once = machines.by_memory(Memory.of(design))
    try:
        with Progress(console, todo, expected, partial(heartbeat.beat, store)) as progress:
            schedule(design, store.root, todo, code, progress, events, address, at_once)
    finally:
        heartbeat.drop(store)


def _summary(design: Design, store: Store, left: Mapping[str, Sequence[Work]], behind: bool, console: Console) -> None:
    total, store_done = len(design.every), store.done()
    if design.spec.search:
        search.show(console, store)
    diverged = [trial for trial in design.every if store_done.get(trial.trial_id, Done()).diverged]
    if diverged:
        names = ", ".join(trial.name for trial in diverged[:NAMED]) + (", ..." if len(diverged) > NAMED else "")
        console.say("", f"diverged: {len(diverged)} of {total} trainings, which have no samples to attack: {names}")
    if left:
        missing_trials = sum(map(len, left.values()))
        console.say("", f"incomplete: {missing_trials} of {total} trials lack results; {AGAIN}.")
        failures.show(console, store, left)
        return
    spec = design.spec
    lines = {
        "complete": f"{len(design.trials)} trials, {len(design.controls)} controls",
        "parquet": f"{store.uri}/{{trials,attacks,quality,scores,history}}",
    }
    if spec.tracking:
        lines["mlflow"] = _mlflow(store, spec, behind)
    lines["next"] = shlex.join(["mia-study", "search" if spec.search else "report", store.uri])
    console.say()
    for key, value in lines.items():
        console.say(f"{key + ':':10}{value}")
    for word, judge in {"control": controls, "audit": claims}.items():
        for line in judge.lines(judge.verdicts(store.root, spec.study)):
            console.say(f"{word + ':':10}{line}")


def _mlflow(store: Store, spec: Spec, behind: bool) -> str:
    from study.tracking.addresses import public

    uri = str(spec.tracking)
    if behind:
        named = ["--experiment", spec.experiment] if spec.experiment else []
        command = shlex.join(["mia-study", "track", store.uri, "--tracking", public(uri), *named])
        return f"lacks some; {command} fills it in"
    return shlex.join(["mlflow", "ui", "--backend-store-uri", uri]) if uri.startswith("sqlite:") else public(uri)
