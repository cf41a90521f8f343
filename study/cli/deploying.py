"""Commands on cluster files."""

import argparse
from pathlib import Path

from study.cli.command import ELSEWHERE, Command


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a cluster file, e.g. cluster.yaml")


def _check(options: argparse.Namespace) -> int:
    from study.run.cluster import check

    return check(options.file)


def _down(options: argparse.Namespace) -> int:
    from study.run.cluster import down, load

    return down(options.file, load(options.file))


COMMANDS = (
    Command(
        name="cluster check",
        group=ELSEWHERE,
        summary="refuse what `ray up` accepts silently",
        add_arguments=_arguments,
        run=_check,
        details="One line for each mistake. Nothing is contacted.",
        examples=("cluster check cluster.yaml && ray up cluster.yaml",),
        codes="exit codes:\n  0  no mistake was found\n  2  some were",
        prints=True,
    ),
    Command(
        name="cluster down",
        group=ELSEWHERE,
        summary="end a cluster and leave nothing running",
        add_arguments=_arguments,
        run=_down,
        details="Does what `ray down` does. With `provider.type: local`, where `ray down` leaves workers running, it "
        "also ends Ray and MLflow's server on every host, and removes Ray's files and the head's copy of the key.",
        examples=("cluster down configs/clusters/onprem.yaml",),
        codes="exit codes:\n  0  all has ended\n  1  it may run on where a line says so; the same command tries again"
        "\n  2  refused",
    ),
)
