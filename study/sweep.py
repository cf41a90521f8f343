"""`python -m study.sweep [CONFIG] [--preset NAME] [--set key=value] [--plan]`: run a study, or what is missing of it.

Exit codes: 0 the study is complete; 1 it is not (failures, an interruption, storage that is away; the same command goes
on); 2 refused, and nothing was run. A driver that is killed has the signal's code.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console

from mia_core.data import load_pool
from study import audit, controls, failures, planning
from study.design import Design
from study.execute import feature_network
from study.machine import PROJECT, code_versions, pick_device, terminate_in_order, versions
from study.spec import read
from study.store import Damaged, Store, compact
from study.work import Work, missing

COMPLETE, INCOMPLETE, REFUSED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, check, run; the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False)
    pick_device()  # the extractor is trained in this process: on one thread, as in every other
    try:
        spec = read(options.config, options.set, options.preset)
        design = Design(spec, load_pool(spec.data))
        store = Store(spec.results, spec.study)
        todo = missing(design, store)
        if options.plan:
            planning.show(console, design, todo)
            return COMPLETE
        _refuse_lost_targets(todo, options.retrain)
        store.probe()
        with store.lock():
            chosen = failures.failed(store, todo) if options.retry_failed else todo
            return _sweep(design, store, chosen, options, console)
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
    parser = argparse.ArgumentParser(prog="python -m study.sweep", description=__doc__.splitlines()[0])
    add_study_arguments(parser)
    parser.add_argument("--plan", action="store_true", help="print what would run, and do nothing")
    parser.add_argument(
        "--retry-failed", action="store_true", help="only the trajectories whose last attempt failed; else all missing"
    )
    parser.add_argument("--retrain", action="store_true", help="train targets again that were not kept")
    parser.add_argument("--address", help="a running Ray cluster, e.g. auto; by default this machine alone")
    add_tracking_argument(parser)
    return parser


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


def _refuse_lost_targets(todo: Mapping[str, Sequence[Work]], retrain: bool) -> None:
    lost = [work.trial for works in todo.values() for work in works if work.retrain]
    if lost and not retrain:
        raise ValueError(
            f"{len(lost)} trials lack results and their targets were not kept (e.g. {lost[0].name}); "
            "--retrain trains them again"
        )


def _sweep(
    design: Design, store: Store, todo: Mapping[str, Sequence[Work]], options: argparse.Namespace, console: Console
) -> int:
    from study.tracking import Tracker

    code = code_versions()
    store.publish(design.hash, design.spec.resolved, planning.design_rows(design), {**code, "versions": versions()})
    tracker = Tracker(store, design.spec.tracking, _warning(console), options.include_records)
    tracker.start()
    if todo:
        planning.show(console, design, todo)
        _run(design, store, todo, code, tracker.log, options.address, console)
        tracker.reconcile()
        compact(store)
    left = missing(design, store)
    tracker.close(complete=not left)
    _summary(design, store, left, tracker.behind, console)
    return INCOMPLETE if left else COMPLETE


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
    from study.progress import Progress
    from study.scheduling import schedule

    if any(work.measures for works in todo.values() for work in works):
        feature_network(design, store)
    works = [work for items in todo.values() for work in items]
    steps = sum(items[-1].trial.steps for items in todo.values())
    with Progress(console, len(works), steps) as progress:
        schedule(design, store.root, todo, code, progress, log, address)


def _summary(design: Design, store: Store, left: Mapping[str, Sequence[Work]], behind: bool, console: Console) -> None:
    total = len(design.every)
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
    lines["next"] = f"python -m analysis.report {store.uri}"
    console.print()
    for key, value in lines.items():
        console.print(f"{key + ':':10}{value}", soft_wrap=True)
    for word, judge in {"control": controls, "audit": audit}.items():
        for line in judge.lines(judge.verdicts(store.root, spec.study)):
            console.print(f"{word + ':':10}{line}", soft_wrap=True)


def _mlflow(store: Store, uri: str, behind: bool) -> str:
    from study.tracking import public

    if behind:
        return f"lacks some; python -m study.track {store.uri} --tracking {public(uri)} fills it in"
    return f"mlflow ui --backend-store-uri {uri}" if uri.startswith("sqlite:") else public(uri)


if __name__ == "__main__":
    terminate_in_order()
    sys.exit(main())
