"""A sweep, from a study file to the session that runs it: plan, refuse, ask."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mia_core.data import load_pool
from mia_core.errors import Refused
from study.design.study_design import Design
from study.design.work import Work, missing
from study.machine import pick_device, require_home
from study.outcomes import COMPLETE
from study.plan import cost, overview
from study.plan.capacity import Machines
from study.plan.memory import Memory
from study.plan.outlook import Outlook
from study.run import failures, search
from study.run.session import Session
from study.spec.study_file import Spec, read
from study.store import Store
from study.terminal import Console, duration

ASK_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a sweep is asked for, as on its command line. set: `key=value` overrides of the study file.

    in_process: trials run in this process, without Ray; no command line says so.
    """

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
    allow_code: bool = False
    in_process: bool = False


def sweep(options: Options) -> int:
    """Plan, check, run; the exit code. Refused before anything ran, where something does not fit."""
    console = Console()
    pick_device()  # the extractor is trained in this process: on one thread, as in every other
    spec = read(options.config, options.set, options.preset, options.allow_code)
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
    if options.address is None and not options.in_process and (chosen or spec.search):
        from study.run.local_ray import require_room

        require_room()
    store.probe()
    with store.lock():
        return Session(
            design=design,
            store=store,
            machines=machines,
            console=console,
            address=options.address,
            pilot=options.pilot,
            include_records=options.include_records,
            in_process=options.in_process,
        ).sweep(chosen, outlook)


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
