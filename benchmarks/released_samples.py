"""`python -m benchmarks released_samples [--samples 5000] [--members 1000] [--size 32]`: from folders to a page.

Folders of smooth random images: members, as many non-members and reference records, and samples of which one in twenty
replays a member. Timed is `mia-study release` with its defaults, as a command of its own, from its start to its end,
imports included: wall and CPU seconds, and the seconds of each attack. It fails where the distance attack misses the
AUC that the replays give it by more than three standard errors, and beyond 120 CPU seconds.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measuring import PROJECT, Spent, table
from study.cli.release_command import CANNOT_BE_SHOWN, STUDY
from study.store import read

REPLAYED = 0.05
LIMIT_SECONDS = 120
COMMAND = "import sys; from study.cli.main import script; sys.exit(script())"


def main(arguments: Sequence[str] = ()) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks released_samples", description=__doc__)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--size", type=int, default=32)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        replayed = make(folder, options.samples, options.members, options.size)
        folders = {"samples": "samples", "members": "members", "non-members": "others", "reference": "reference"}
        named = [word for key, name in folders.items() for word in (f"--{key}", str(folder / name))]
        words = [sys.executable, "-c", COMMAND, "release", *named, "--holdout", "random", "--out", str(folder / "out")]
        spent = timed(words, {"MIA_STUDY_CACHE": str(folder / "cache"), "PYTHONPATH": str(PROJECT)})
        attacks = read(str(folder / "out"), STUDY, "attacks")
    rows = attacks.dropna(subset=["auc"]).drop_duplicates(["trial_id", "seconds"])
    table(
        "Seconds of each run",
        ["attack", "seconds"],
        [[str(row.attack), f"{row.seconds:.1f}"] for row in rows.itertuples()],
    )
    found = attacks.set_index("attack").loc[f"euclidean_generated{options.samples}"]
    truth = 1 - (1 - 1 / options.members) ** replayed / 2
    error = (found["auc_high"] - found["auc_low"]) / 3.92
    print(f"\nAUC {found['auc']:.3f}, of {replayed} replayed samples {truth:.3f}, standard error {error:.3f}")
    print(f"{spent.wall:.0f} s wall, {spent.cpu:.0f} s CPU")
    return int(abs(found["auc"] - truth) > 3 * error or spent.cpu > LIMIT_SECONDS)


def timed(words: Sequence[str], settings: Mapping[str, str]) -> Spent:
    """A command that starts no further processes; without a policy its exit code is that of 'cannot be shown'."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(words, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != CANNOT_BE_SHOWN:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return Spent(wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def make(folder: Path, samples: int, members: int, size: int) -> int:
    """Write the folders; how many samples are members."""
    random = np.random.default_rng(0)
    basis = random.normal(size=(24, size // 4, size // 4, 3)).repeat(4, 1).repeat(4, 2)

    def fresh(count: int) -> np.ndarray:
        images = 128 + 12 * np.tensordot(random.normal(size=(count, 24)), basis, 1)
        return (images + 6 * random.normal(size=images.shape)).clip(0, 255).astype(np.uint8)

    inside, drawn = fresh(members), fresh(samples)
    replayed = random.random(samples) < REPLAYED
    drawn[replayed] = inside[random.integers(0, members, replayed.sum())]
    parts = {"members": inside, "others": fresh(members), "reference": fresh(members), "samples": drawn}
    for name, images in parts.items():
        (folder / name).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{number:06}.png")
    return int(replayed.sum())
