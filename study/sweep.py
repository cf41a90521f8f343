"""`mia-study sweep [CONFIG] [--preset NAME] [--set key=value] [--plan]`: run a study, or what is missing of it.

Exit codes: 0 the study is complete; 1 it is not (failures, an interruption, storage that is away; the same command goes
on); 2 refused, and nothing was run. With --plan and --pilot, 0 says that they did what they are for. A driver that is
killed has the signal's code.
"""

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rich.console import Console

from mia_core.data import load_pool
from study.design.trials import Design
from study.design.work import Work, missing
from study.duration import duration
from study.machine import PROJECT, code_versions, keep_to_owner, pick_device, terminate_in_order, versions
from study.plan import cost, overview
from study.plan.outlook import Outlook
from study.run import failures, heartbeat, search
from study.run.runner import feature_network
from study.spec.study_file import read
from study.store import Compactor, Damaged, Store, compact
from study.store.collecting import drop_spent_checkpoints
from study.verdicts import claims, controls

COMPLETE, INCOMPLETE, REFUSED = 0, 1, 2

ASK_SECONDS = 3600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, check, run; the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False)
    pick_device()  # the extractor is trained in this process: on one thread, as in every other
    try:
        spec = read(options.config, options.set, options.preset)
        store = Store(spec.results, spec.study)
        store.reach()
        if spec.search:
            _refuse_of_a_search(options)
        design = Design(search.begun(spec, store), load_pool(spec.data))
        todo = missing(design, store)
        chosen = failures.failed(store, todo) if options.retry_failed else todo
        outlook = Outlook.of(design, store, chosen)
        if options.plan:
            overview.show(console, design, chosen, outlook)
            return COMPLETE
        if options.pilot and todo:
            chosen = cost.pilot(design, todo, outlook.estimate)
            outlook = Outlook.of(design, store, chosen)
        _refuse_lost_targets(chosen, options.retrain)
        outlook.require(options.max_hours, options.max_cost, options.pilot)
        _ask(outlook, options.yes, console)
        store.probe()
        with store.lock():
            return _sweep(design, store, outlook, chosen, options, console)
    except (ValueError, Damaged) as error:
        print(f"refused: {error}", file=sys.stderr)
        return REFUSED
    except OSError as error:
        print(f"stopped: {error}; the same command goes on", file=sys.stderr)
        return INCOMPLETE
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return INCOMPLETE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mia-study sweep", description=__doc__.splitlines()[0])
    add_study_arguments(parser)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--plan", action="store_true", help="print what would run and what it takes, and do nothing")
    text = "run one trajectory of the study, to time what was never timed, and plan again"
    part.add_argument("--pilot", action="store_true", help=text)
    text = "only the trajectories whose last attempt failed; else all missing"
    part.add_argument("--retry-failed", action="store_true", help=text)
    text = "refuse what takes longer by the estimate"
    parser.add_argument("--max-hours", type=_limit, metavar="HOURS", help=text)
    parser.add_argument("--max-cost", type=_limit, metavar="USD", help="refuse what costs more by the estimate")
    text = f"do not ask; a terminal is asked before more than {duration(ASK_SECONDS)}"
    parser.add_argument("--yes", action="store_true", help=text)
    parser.add_argument("--retrain", action="store_true", help="train targets again that were not kept")
    parser.add_argument("--address", help="a running Ray cluster, e.g. auto; by default this machine alone")
    add_tracking_argument(parser)
    return parser


def _limit(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0")
    return value


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a study."""
    default = PROJECT / "configs" / "digits.yaml"
    parser.add_argument("config", nargs="?", default=default, help="a study file (default: configs/digits.yaml)")
    parser.add_argument("--preset", metavar="NAME", help="settings under presets: in the study file, before any --set")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override, e.g. replicates=1")


def add_tracking_argument(parser: argparse.ArgumentParser) -> None:
    """The argument that says what MLflow may see."""
    text = "samples go to MLflow too; they may show records"
    parser.add_argument("--include-records", action="store_true", help=text)


def _refuse_of_a_search(options: argparse.Namespace) -> None:
    given = {
        "--pilot": options.pilot,
        "--retry-failed": options.retry_failed,
        "--max-hours": options.max_hours is not None,
        "--max-cost": options.max_cost is not None,
    }
    for flag in (flag for flag, is_given in given.items() if is_given):
        raise ValueError(f"{flag}: a search chooses its trials as it goes on; search.points says how many at most")


def _refuse_lost_targets(todo: Mapping[str, Sequence[Work]], retrain: bool) -> None:
    lost = [work.trial for works in todo.values() for work in works if work.retrain]
    if lost and not retrain:
        raise ValueError(
            f"{len(lost)} trials lack results and their targets were not kept (e.g. {lost[0].name}); "
            "--retrain trains them again"
        )


def _ask(outlook: Outlook, yes: bool, console: Console) -> None:
    """On a terminal, before long work; ValueError unless the answer is yes. A script is never asked."""
    wall = outlook.estimate.wall
    if yes or wall is None or wall < ASK_SECONDS or not (console.is_terminal and sys.stdin.isatty()):
        return
    if console.input(f"about {duration(wall)}; go on? [y/N] ", markup=False).strip().lower() not in ("y", "yes"):
        raise ValueError("not wanted")


def _sweep(
    design: Design,
    store: Store,
    outlook: Outlook,
    todo: Mapping[str, Sequence[Work]],
    options: argparse.Namespace,
    console: Console,
) -> int:
    from study.tracking.tracker import Tracker

    code = code_versions()
    _publish(design, store, code)
    for line in store.warnings():
        _warning(console)(line)
    tracker = Tracker(store, design.spec.tracking, _warning(console), options.include_records)
    tracker.start()
    if todo or design.spec.search:
        if options.pilot:
            console.print(f"pilot: {_name(todo)}", markup=False, soft_wrap=True)
        else:
            overview.show(console, design, todo, outlook)
        compactor = Compactor(store)

        def log(trial_id: str) -> None:
            tracker.log(trial_id)
            compactor.count()

        try:
            if design.spec.search:
                design = _search(design, store, code, log, options.address, console)
            else:
                _run(design, store, todo, code, log, options.address, console)
        except ValueError:  # refused by a worker, before any work
            tracker.close(complete=False)
            raise
        tracker.reconcile()
        compact(store)
    left = missing(design, store)
    drop_spent_checkpoints(store)
    tracker.close(complete=not left)
    if options.pilot and left:
        return _after_pilot(design, store, todo, left, console)
    _summary(design, store, left, tracker.behind, console)
    return INCOMPLETE if left else COMPLETE


def _publish(design: Design, store: Store, code: Mapping[str, str]) -> None:
    store.publish(design.hash, design.spec.resolved, overview.design_rows(design), {**code, "versions": versions()})


def _search(
    design: Design,
    store: Store,
    code: Mapping[str, str],
    log: Callable[[str], None],
    address: str | None,
    console: Console,
) -> Design:
    """Batch after batch, on one Ray that starts with the first; the design of all points."""
    from study.run.local_ray import local_ray

    with contextlib.ExitStack() as ray:

        def run(design: Design, todo: Mapping[str, Sequence[Work]]) -> None:
            ray.enter_context(local_ray(address, design.pool.images.nbytes))
            _run(design, store, todo, code, log, address, console)

        return search.go_on(design, store, lambda design: _publish(design, store, code), run)


def _name(todo: Mapping[str, Sequence[Work]]) -> str:
    """Of the longest trial of the first trajectory."""
    return next(iter(todo.values()))[-1].trial.name


def _after_pilot(
    design: Design,
    store: Store,
    todo: Mapping[str, Sequence[Work]],
    left: Mapping[str, Sequence[Work]],
    console: Console,
) -> int:
    """Plan again, or name what failed."""
    if any(name in left for name in todo):
        failures.show(console, store, {name: left[name] for name in todo if name in left})
        return INCOMPLETE
    console.print(f"\n{_name(todo)} is done. What is left:\n", markup=False, soft_wrap=True)
    overview.show(console, design, left, Outlook.of(design, store, left))
    return COMPLETE


def _warning(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(f"warning: {line}", markup=False, soft_wrap=True)


def _run(
    design: Design,
    store: Store,
    todo: Mapping[str, Sequence[Work]],
    code: Mapping[str, str],
    log: Callable[[str], None],
    address: str | None,
    console: Console,
) -> None:
    from study.run.progress import Progress
    from study.run.scheduling import schedule

    if any(work.measures for works in todo.values() for work in works):
        feature_network(design, store)
    expected = cost.expected(Outlook.of(design, store, todo).estimate, todo)
    try:
        with Progress(console, todo, expected, partial(heartbeat.beat, store)) as progress:
            schedule(design, store.root, todo, code, progress, log, address)
    finally:
        heartbeat.drop(store)


def _summary(design: Design, store: Store, left: Mapping[str, Sequence[Work]], behind: bool, console: Console) -> None:
    total = len(design.every)
    if design.spec.search:
        search.show(console, store)
    if left:
        missing_trials = sum(map(len, left.values()))
        console.print(f"\nincomplete: {missing_trials} of {total} trials lack results; the same command goes on.")
        failures.show(console, store, left)
        return
    spec = design.spec
    lines = {
        "complete": f"{len(design.trials)} trials, {len(design.controls)} controls",
        "parquet": f"{store.uri}/{{trials,attacks,quality,scores,history}}",
    }
    if spec.tracking:
        lines["mlflow"] = _mlflow(store, spec.tracking, behind)
    lines["next"] = f"mia-study {'search' if spec.search else 'report'} {store.uri}"
    console.print()
    for key, value in lines.items():
        console.print(f"{key + ':':10}{value}", soft_wrap=True)
    for word, judge in {"control": controls, "audit": claims}.items():
        for line in judge.lines(judge.verdicts(store.root, spec.study)):
            console.print(f"{word + ':':10}{line}", soft_wrap=True)


def _mlflow(store: Store, uri: str, behind: bool) -> str:
    from study.tracking.tracker import public

    if behind:
        return f"lacks some; mia-study track {store.uri} --tracking {public(uri)} fills it in"
    return f"mlflow ui --backend-store-uri {uri}" if uri.startswith("sqlite:") else public(uri)


if __name__ == "__main__":
    keep_to_owner()
    terminate_in_order()
    sys.exit(main())
