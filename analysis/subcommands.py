"""The commands that read a store, registered with `mia-study` by an entry point."""

import argparse
from pathlib import Path

from study.cli.arguments import add_folder, add_include_records, file_path
from study.cli.command import JUDGE, READ, Command
from study.cli.release_command import RELEASE_CODES, release_arguments
from study.outcomes import COMPLETE


def _add_attack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--attack", metavar="LABEL", help="the attack to show (default: the study's own choice)")


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    text = "the file to write (default: reports/report.html in the study's folder)"
    parser.add_argument("--out", type=file_path, metavar="FILE", help=text)
    add_include_records(parser, "with samples and record numbers")


def _report(options: argparse.Namespace) -> int:
    from analysis.release.reading_evidence import is_release
    from analysis.release.writing_release import write_page
    from analysis.report.writing import run
    from study.store import Store

    if is_release(store := Store.at(options.folder)):
        write_page(store, options.out)
    else:
        run(options.folder, options.out, options.include_records)
    return COMPLETE


def _tables_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    _add_attack(parser)
    add_include_records(parser, "with the numbers and files of records that samples copy")


def _tables(options: argparse.Namespace) -> int:
    from analysis.tables import run

    run(options.folder, options.attack, options.include_records)
    return COMPLETE


def _figures_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to put the pictures in")
    _add_attack(parser)


def _figures(options: argparse.Namespace) -> int:
    from analysis.figures import run

    run(options.folder, options.out, options.attack)
    return COMPLETE


def _notebooks_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    add_include_records(parser, "with record numbers")


def _notebooks(options: argparse.Namespace) -> int:
    from analysis.notebooks.execution import run

    run(options.folder, options.include_records)
    return COMPLETE


def _release(options: argparse.Namespace) -> int:
    from study.cli.release_command import run_release, write_policy

    if options.write_policy is not None:
        return write_policy(options.write_policy)
    code, store = run_release(options)
    if code != COMPLETE:
        return code
    from analysis.release.writing_release import write
    from study.outcomes import code_of
    from study.spec.policy import policy_of

    policy = store.resolved().get("policy")
    return code_of(write(store, policy and policy_of(policy), options.out))


COMMANDS = (
    Command(
        name="release",
        group=JUDGE,
        summary="may we release this generator, or these samples? one page",
        add_arguments=release_arguments,
        run=_release,
        details="Attacks what is given with all that its access permits, judged by records that were and were not "
        "trained on. No target is trained. The same command again runs what is missing.",
        examples=(
            "release --samples SAMPLES --members IN --non-members OUT",
            "release --onnx G --latent normal:128 --members IN --non-members OUT",
            "release --write-policy limits.yaml",
        ),
        codes=RELEASE_CODES,
    ),
    Command(
        name="report",
        group=READ,
        summary="write a study's answer as one HTML page",
        add_arguments=_report_arguments,
        run=_report,
        details="It needs nothing but itself: no network, no other file. `python -m analysis.report` is the same.",
        examples=("report results/digits", "report results/digits --out answer.html"),
    ),
    Command(
        name="tables",
        group=READ,
        summary="print a study's measured tables, in Markdown",
        add_arguments=_tables_arguments,
        run=_tables,
        examples=("tables results/digits", "tables results/digits --attack euclidean > tables.md"),
        prints=True,
    ),
    Command(
        name="figures",
        group=READ,
        summary="write a study's pictures as PNG files",
        add_arguments=_figures_arguments,
        run=_figures,
        details="No picture shows a record.",
        examples=("figures results/digits pictures",),
    ),
    Command(
        name="notebooks",
        group=READ,
        summary="run the notebooks that fit a study, as pages in its reports",
        add_arguments=_notebooks_arguments,
        run=_notebooks,
        details="It says which do not fit, and why. A page loads nothing from anywhere. "
        "A study in a bucket has them here, in reports/STUDY.",
        examples=("notebooks results/digits",),
    ),
)
