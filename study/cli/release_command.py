"""A release by its command line: the study file that it stands for, written beside its results, and its run."""

import argparse
import contextlib
from pathlib import Path
from typing import Any

import yaml

from mia_core.errors import Refused
from study.cli.arguments import number
from study.cli.release_flags import refused_by_flags
from study.outcomes import COMPLETE, REFUSED, outcome, writing
from study.store import Store
from study.store.outputs import write_output

STUDY = "release"
"""The name of the study, and so of the store's folder in the output folder."""
CANNOT_BE_SHOWN = 3
KINDS = ("samples", "onnx", "denoiser", "weights", "callable")
TAKES = {
    "samples": ("key", "range"),
    "onnx": ("latent", "range"),
    "denoiser": ("prediction", "schedule", "betas", "timesteps", "range", "key"),
    "weights": ("target",),
    "callable": ("range",),
}
"""Flags of each kind; `key` beside a denoiser is of its samples."""
NEEDS = {"onnx": ("latent",), "denoiser": ("prediction", "schedule", "timesteps"), "weights": ("target",)}
RELEASE_CODES = """exit codes:
  0  no limit is exceeded by the attacks that were tried
  1  a limit is exceeded
  2  refused: nothing was run, and the line says what to change
  3  cannot be shown, for the reasons on the page; or not all of it was run,
     and the same command goes on"""
HEAD = """\
# What `mia-study release` was asked for, as a study file: `mia-study sweep` of it runs what is missing.
"""


def release_arguments(parser: argparse.ArgumentParser) -> None:
    """What names a release, its records, and what is stated about them."""
    given = parser.add_argument_group("what is released, one of")
    given.add_argument("--samples", metavar="PATH", help="a folder of images, or an .npy, .npz or .parquet file")
    given.add_argument("--onnx", metavar="FILE", help="a generator; with --latent, --range")
    text = "a diffusion model; with --prediction, --schedule, --timesteps; --samples beside it, or it draws them"
    given.add_argument("--denoiser", metavar="FILE", help=text)
    given.add_argument("--weights", metavar="FILE", help="safetensors of one of our targets; with --target, --size")
    text = "package.module:function, (count, seed) to images; your code is run"
    given.add_argument("--callable", metavar="NAME", help=text)
    given.add_argument("--latent", metavar="normal:Z|uniform:Z", help="how the Z latents of --onnx are drawn")
    predicts = ("epsilon", "v", "x0")
    given.add_argument("--prediction", choices=predicts, help="what --denoiser predicts: noise, velocity or image")
    text = "of its noise: linear, scaled_linear, cosine, or an .npy file of alpha_bar (alphas_cumprod)"
    given.add_argument("--schedule", metavar="NAME|FILE", help=text)
    given.add_argument("--betas", metavar="FIRST,LAST", help="of a linear schedule, e.g. 0.0001,0.02")
    given.add_argument("--timesteps", type=number("", 2, 100_000), metavar="T", help="of its training")
    text = "of float images: -1,1 or 0,1 or 0,255"
    given.add_argument("--range", choices=("-1,1", "0,1", "0,255"), metavar="LOW,HIGH", help=text)
    given.add_argument("--key", metavar="NAME", help="array of an .npz file, or column of a Parquet file")
    given.add_argument("--target", metavar="SETTINGS", help="of --weights, e.g. '{name: dcgan, width: 32}'")
    records = parser.add_argument_group("records, folders of images")
    records.add_argument("--members", metavar="FOLDER", help="what the generator was trained on")
    records.add_argument("--non-members", metavar="FOLDER", help="records like them that it was not trained on")
    records.add_argument("--reference", metavar="FOLDER", help="further records like them, which an attacker may have")
    records.add_argument("--groups", metavar="CSV", help="a table with the columns file and person")
    text = "random: the non-members were drawn at random, before training, from all records (default: other)"
    records.add_argument("--holdout", choices=("random", "other"), default="other", help=text)
    size = number(" of pixels", 8, 1024)
    records.add_argument("--size", type=size, metavar="PIXELS", help="of all images (default: the members', or onnx's)")
    stated = parser.add_argument_group("statements and limits")
    stated.add_argument("--recipient", metavar="WORDS", help="to whom it is released")
    stated.add_argument("--epsilon", type=number("", 0), help="of a guarantee that you state; not checked")
    stated.add_argument("--delta", type=number("", 0, 1), help="of that guarantee")
    stated.add_argument("--epsilon-unit", choices=("record", "person"), help="of that guarantee")
    stated.add_argument("--policy", metavar="FILE", help="limits; without them the answer is 'cannot be shown'")
    text = "write a commented policy with blanks to fill in, and do nothing else"
    stated.add_argument("--write-policy", metavar="FILE", type=Path, help=text)
    text = "where release.html, release.json and the store go (default: release)"
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path("release"), help=text)
    text = "change a setting of the study file, e.g. --set data.on_unreadable=skip; may be repeated"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)


def write_policy(path: Path) -> int:
    """A policy to fill in; Refused where a file is there already."""
    from study.spec.policy import template
    from study.terminal import say

    if path.exists() or path.is_symlink():
        raise Refused(f"{path}: is there already; remove it, or name another place")
    with writing(path):
        write_output(path, template().encode())
    say(f"{path}: fill in every blank; then mia-study release --policy {path} ...")
    return COMPLETE


def run_release(options: argparse.Namespace) -> tuple[int, Store]:
    """Write the study file, run what is missing of it in this process; the exit code if it is not complete, else 0.

    What is refused leaves no file and no folder behind, and an earlier study file as it was.
    """
    from study.terminal import say

    kind = _kind(options)
    with refused_by_flags(kind):
        document = release_study(options)
    file = options.out / "release.yaml"
    before = file.read_bytes() if file.is_file() else None
    made = [folder for folder in (options.out, *options.out.parents) if not folder.exists()]
    with writing(file):
        write_output(file, (HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)).encode())
    for line in _known_before(options):
        say(f"note: {line}, so the answer will be 'cannot be shown'")
    code = outcome(lambda: _swept(str(file), options.set, kind))
    if code == REFUSED:
        _undo(file, before, made)
    return code if code in (COMPLETE, REFUSED) else CANNOT_BE_SHOWN, Store(str(options.out), STUDY)


def _swept(file: str, settings: list[str], kind: str) -> int:
    from study.run import flow

    with refused_by_flags(kind):
        return flow.sweep(flow.Options(config=file, set=settings, yes=True, allow_code=True, in_process=True))


def _undo(file: Path, before: bytes | None, made: list[Path]) -> None:
    """Take back the study file of a refused command, and folders that are empty then."""
    if before is None:
        file.unlink(missing_ok=True)
    else:
        write_output(file, before)
    for folder in (file.parent / STUDY, *made):
        with contextlib.suppress(OSError):  # of an earlier run, or of others
            folder.rmdir()


def _known_before(options: argparse.Namespace) -> list[str]:
    """What keeps limits from being answered, whatever is found."""
    return [
        *(["no limits are given (--policy FILE; --write-policy FILE writes one to fill in)"] * (not options.policy)),
        *(["--holdout random is not given"] * (options.holdout != "random")),
    ]


def release_study(options: argparse.Namespace) -> dict[str, Any]:
    """The study file of a command line, with absolute paths. Refused for arguments that are missing or do not fit."""
    from study.spec import documents
    from study.spec.policy import read_policy
    from study.spec.release_study import natural_shape

    for word in ("members", "non_members"):
        if getattr(options, word) is None:
            raise Refused(f"--{word.replace('_', '-')}: required; name the folder of these records")
    release = _release(options, documents.parse)
    folders = ("members", "non_members", "reference", "groups")
    split = {word: str(Path(given).absolute()) for word in folders if (given := getattr(options, word)) is not None}
    shape = natural_shape(release)
    data = {"size": int(options.size)} if options.size else {"size": shape[1], "channels": shape[0]} if shape else {}
    return {
        "study": STUDY,
        "release": release,
        "data": data,
        "split": {"name": "given", **split, "holdout": options.holdout},
        **({"policy": read_policy(options.policy).to_dict()} if options.policy else {}),
        "results": str(options.out.absolute()),
        "tracking": None,
    }


def _kind(options: argparse.Namespace) -> str:
    """Of KINDS. Refused unless exactly one is named, or samples beside a denoiser."""
    named = [kind for kind in KINDS if getattr(options, kind) is not None]
    if named == ["samples", "denoiser"]:
        return "denoiser"
    if len(named) != 1:
        flags = [f"--{kind}" for kind in KINDS]
        raise Refused(f"{', '.join(flags[:-1])} or {flags[-1]}: name what is released, by one of them")
    return named[0]


def _release(options: argparse.Namespace, parse: Any) -> dict[str, Any]:
    kind = _kind(options)
    given = getattr(options, kind)
    settings = {
        word: getattr(options, word) for word in dict.fromkeys(word for words in TAKES.values() for word in words)
    }
    for word, value in settings.items():
        if value is not None and word not in TAKES[kind]:
            raise Refused(f"--{word}: says nothing of --{kind}; leave it out")
    for word in NEEDS.get(kind, ()):
        if settings[word] is None:
            raise Refused(f"--{word}: --{kind} needs it")
    if settings["target"] is not None:
        settings["target"] = parse(settings["target"], "--target")
    if kind == "denoiser":
        settings |= _of_denoiser(options)
    stated = {
        "recipient": options.recipient,
        "epsilon": options.epsilon,
        "delta": options.delta,
        "epsilon_unit": options.epsilon_unit,
    }
    where = {"function": given} if kind == "callable" else {"root": str(Path(given).absolute())}
    return {"name": kind, **where, **{key: value for key, value in {**settings, **stated}.items() if value is not None}}


def _of_denoiser(options: argparse.Namespace) -> dict[str, Any]:
    """Its settings, where a flag is another value than the study file has: numbers, and the samples beside it."""
    if options.key is not None and options.samples is None:
        raise Refused("--key: says nothing of --denoiser without --samples; leave it out")
    beside = (
        {"root": str(Path(options.samples).absolute()), "key": options.key} if options.samples is not None else None
    )
    return {
        "timesteps": int(options.timesteps),
        "schedule": _schedule(options.schedule),
        "betas": None if options.betas is None else _betas(options.betas),
        "samples": beside and {key: value for key, value in beside.items() if value is not None},
        "key": None,
    }


def _schedule(given: str) -> str | list[float]:
    """A name, or the numbers of a file."""
    from mia_core.releases.sample_arrays import read_array

    if Path(given).suffix != ".npy":
        return given
    found = read_array(Path(given), None)
    if found.ndim != 1:
        raise Refused(
            f"--schedule: {given} has the shape {list(found.shape)}; [T] is needed, alpha_bar of each timestep"
        )
    return [float(value) for value in found]


def _betas(given: str) -> list[float]:
    try:
        first, last = map(float, given.split(","))
    except ValueError:
        raise Refused(f"--betas: {given} is not two numbers, such as 0.0001,0.02") from None
    return [first, last]
