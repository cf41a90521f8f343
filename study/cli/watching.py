"""Commands that show how far a study is, in a terminal or in MLflow."""

import argparse

from study.cli.arguments import add_folder, add_include_records, add_settings, number
from study.cli.command import JUDGE, KEEP, Command
from study.store.roots import WHERE

TRACKING = "sqlite:///mlflow.db"


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STORE|CONFIG", help=f"{WHERE}; or a study file")
    add_settings(parser)
    parser.add_argument("--json", action="store_true", help="for scripts")
    text = "show it again so often, until the study is complete or Ctrl-C"
    parser.add_argument("--watch", type=number(" of seconds", 0.1, 86400), metavar="SECONDS", help=text)


def _status(options: argparse.Namespace) -> int:
    from study.run.status import run

    return run(options.study, options.set, options.preset, options.json, options.watch)


def _track_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument("--tracking", default=TRACKING, metavar="URI", help=f"where to (default: {TRACKING})")
    text = "MLflow's experiment (default: that of the last sweep, else of the study's name)"
    parser.add_argument("--experiment", metavar="NAME", help=text)
    add_include_records(parser, "samples go to MLflow too")


def _track(options: argparse.Namespace) -> int:
    from study.tracking.filling import run

    return run(options.folder, options.tracking, options.include_records, options.experiment)


COMMANDS = (
    Command(
        name="status",
        group=JUDGE,
        summary="how far a study is, from its store alone, also while it runs",
        add_arguments=_status_arguments,
        run=_status,
        details="Needs neither Ray nor the data, changes nothing, and reads a public copy too.",
        examples=("status results/digits", "status my.yaml --watch 10", "status s3://bucket/results/digits --json"),
        codes="exit codes:\n  0  the study is complete\n  1  it is not\n  2  refused: there is no such study, or its "
        "design is damaged",
        prints=True,
    ),
    Command(
        name="track",
        group=KEEP,
        summary="fill MLflow from a store, again or anew",
        add_arguments=_track_arguments,
        run=_track,
        details="Any tracking URI will do, filled or empty: what is there already is found and left as it is, and "
        "so are runs that are not this store's.",
        examples=("track results/digits", "track results/digits --tracking http://127.0.0.1:5000"),
        codes="exit codes:\n  0  MLflow has all that is sealed\n  1  it does not; the same command goes on\n"
        "  2  refused",
    ),
)
