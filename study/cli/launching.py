"""Commands that run a study, and look at it before it runs."""

import argparse

from study.cli.arguments import add_include_records, add_study, number
from study.cli.command import RUN, Command
from study.outcomes import COMPLETE

SWEEP_CODES = """exit codes:
  0  the study is complete; with --plan and --pilot: they did what they are for
  1  it is not: something failed, or was interrupted; the same command goes on
  2  refused: nothing was run, and the line says what to change"""


def _sweep_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--plan", action="store_true", help="print what would run and what it takes, and do nothing")
    text = "run one trajectory of the study, to time what was never timed, and plan again"
    part.add_argument("--pilot", action="store_true", help=text)
    text = "only the trajectories whose last attempt failed; else all missing"
    part.add_argument("--retry-failed", action="store_true", help=text)
    limit = number("", 0)
    parser.add_argument("--max-hours", type=limit, metavar="HOURS", help="refuse what takes longer by the estimate")
    parser.add_argument("--max-cost", type=limit, metavar="USD", help="refuse what costs more by the estimate")
    parser.add_argument("--yes", action="store_true", help="do not ask; a terminal is asked before more than an hour")
    parser.add_argument("--retrain", action="store_true", help="train targets again that were not kept")
    parser.add_argument("--address", help="a running Ray cluster, e.g. auto; by default this machine alone")
    add_include_records(parser, "samples go to MLflow too")
    text = "run the function that a release's study file names"
    parser.add_argument("--allow-code", action="store_true", help=text)


def _sweep(options: argparse.Namespace) -> int:
    from study.run import flow

    words = (name for name in flow.Options.__dataclass_fields__ if name != "in_process")
    return flow.sweep(flow.Options(**{name: getattr(options, name) for name in words}))


def _trial_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("--id", metavar="ID", help="a trial or trajectory id of the study")
    parser.add_argument("--results", metavar="FOLDER", help="keep the trial there; else nothing is kept")


def _trial(options: argparse.Namespace) -> int:
    from study.run.one_trial import run

    return run(options.config, options.set, options.preset, options.id, options.results)


def _config_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("--schema", action="store_true", help="a JSON schema of study files instead, for editors")


def _config(options: argparse.Namespace) -> int:
    import json

    from study.spec.json_schema import schema
    from study.spec.study_file import read
    from study.terminal import say

    shown = schema() if options.schema else read(options.config, options.set, options.preset).resolved
    say(*json.dumps(shown, indent=2).split("\n"))
    return COMPLETE


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    text = "how many files of each kind to name (default: 10)"
    parser.add_argument("--names", type=number(" of names", 0), default=10, metavar="N", help=text)
    text = "where the contact sheet goes, a .png file (default: reports/contact_sheet.png in the study's folder)"
    parser.add_argument("--output", metavar="FILE", help=text)


def _data(options: argparse.Namespace) -> int:
    from study.design.data_shown import run

    return run(options.config, options.set, options.preset, int(options.names), options.output)


def _near_duplicates_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    text = "differing bits of 128 (hash), or Euclidean distance of 16 x 16 gray thumbnails, 0 to 255 (thumbnail)"
    parser.add_argument("--by", choices=("hash", "thumbnail"), default="hash", help=text)
    parser.add_argument("--pairs", type=int, default=10, metavar="N", help="pairs to print (default: 10)")
    text = "a .csv or .parquet file (default: reports/near_duplicates.csv in the study's folder)"
    parser.add_argument("--output", metavar="FILE", help=text)


def _near_duplicates(options: argparse.Namespace) -> int:
    from study.design.look_alikes import run

    return run(options.config, options.set, options.preset, options.by, options.pairs, options.output)


def _init_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", metavar="IMAGES", help="the folder of your images, with all its sub-folders")
    text = "the study file to write (default: the folder's name, with .yaml, here)"
    parser.add_argument("out", nargs="?", metavar="OUT", help=text)
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out images that cannot be read")
    text = "a setting of data in that file, e.g. --set data.group_folders=true; may be repeated"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)


def _init(options: argparse.Namespace) -> int:
    import shlex
    from pathlib import Path

    from mia_core.data.images import in_words
    from mia_core.data.pool import LEFT_OUT
    from mia_core.errors import Refused
    from study.outcomes import writing
    from study.plan.starting import first_study
    from study.store.outputs import write_output
    from study.terminal import say

    out = Path(options.out or f"{Path(options.images).absolute().name or 'mine'}.yaml")
    if out.exists() or out.is_symlink():
        raise Refused(f"{out}: is there already; remove it, or name another place for the study file")
    text, pool = first_study(options.images, str(out), options.skip_unreadable, options.set)
    with writing(out):
        write_output(out, text.encode())
    left_out = [note.removeprefix(LEFT_OUT) for note in pool.notes if note.startswith(LEFT_OUT)]
    for line in pool.notes:
        if not line.startswith(LEFT_OUT):
            say(f"data: {line}")
    if left_out:
        listing = shlex.join(["mia-study", "data", str(out)])
        say(f"data: {len(left_out)} files or labels are left out{in_words(left_out)}; {listing} names them")
    say(f"{out}: a study of {len(pool)} images; it says in comments what to decide", "")
    say(f"next: {shlex.join(['mia-study', 'sweep', str(out), '--plan'])}")
    return COMPLETE


COMMANDS = (
    Command(
        name="init",
        group=RUN,
        summary="write a commented study file for your folder of images",
        add_arguments=_init_arguments,
        run=_init,
        details="Its sizes fit the number of images, and persons where --set names them; `sweep OUT --plan` says what "
        "it would run. No file is replaced.",
        examples=(
            "init images",
            "init ~/scans scans.yaml --skip-unreadable",
            "init ~/scans --set 'data.window=[0,4095]'  # 16 bits: black, white",
            "init ~/scans --set data.group_folders=true  # a folder each",
        ),
    ),
    Command(
        name="sweep",
        group=RUN,
        summary="run what is missing of a study",
        add_arguments=_sweep_arguments,
        run=_sweep,
        details="The same command again runs what is missing and nothing else: after Ctrl-C or a failure, or with a "
        "level, a replicate, an attack or a measure added. `python -m study.sweep` is the same.",
        examples=(
            "sweep                             # configs/digits.yaml, here",
            "sweep my.yaml --plan              # time, money, power; runs nothing",
            "sweep my.yaml --set replicates=10 # runs what is missing",
            "sweep my.yaml --max-cost 40       # refused if it costs more",
            "sweep my.yaml --address auto      # on a running Ray cluster",
        ),
        codes=SWEEP_CODES,
    ),
    Command(
        name="trial",
        group=RUN,
        summary="run one trial in the foreground, without Ray",
        add_arguments=_trial_arguments,
        run=_trial,
        details="Prints its numbers. It is the trial that --id names, else the first level of every factor and the "
        "last of epochs or steps, in replicate 0.",
        examples=("trial my.yaml --set target.width=32", "trial my.yaml --id 4b1f0c2a --results kept"),
    ),
    Command(
        name="config",
        group=RUN,
        summary="print a study with every default, or the schema of studies",
        add_arguments=_config_arguments,
        run=_config,
        details="What it prints is JSON, and reads back as the same study.",
        examples=("config my.yaml --preset quick", "config --schema > study.schema.json"),
        prints=True,
    ),
    Command(
        name="data",
        group=RUN,
        summary="show the data of a study as they are read",
        add_arguments=_data_arguments,
        run=_data,
        details="Images, classes, persons, copies and near-copies with their names, what is cropped, enlarged and left "
        "out, and a contact sheet. Nothing is trained, and the split need not fit yet. What it prints and draws is as "
        "sensitive as the data.",
        examples=("data my.yaml", "data my.yaml --names 50 --output sheet.png"),
        prints=True,
    ),
    Command(
        name="near-duplicates",
        group=RUN,
        summary="find records that look alike on both sides of membership",
        add_arguments=_near_duplicates_arguments,
        run=_near_duplicates,
        details="A non-member that looks like a training record is hard to tell from a member, and no attack can be "
        "blamed for that. Every non-member query of each replicate at the largest train_size is written with the "
        "training record closest to it. `--set split.near_duplicates=BITS` then keeps such records on one side.",
        examples=("near-duplicates my.yaml --by thumbnail --pairs 20",),
        prints=True,
    ),
)
