"""A release that is given: folders of images whose samples replay members, and the study file that attacks them."""

import shutil

import numpy as np
import yaml
from PIL import Image

from study.run import flow
from study.store import Store
from tests.shared import once

MEMBERS, OTHERS, REFERENCE, SAMPLES, REPLAYED, SIZE = 110, 130, 30, 150, 0.4, 8
ATTACKS = [
    {"name": "euclidean", "generated": [50, 150, 400]},
    {"name": "domias", "generated": 150},
    {"name": "discriminative", "known": 10, "steps": [3], "generated": 150, "surrogate": {"name": "dcgan", "width": 2}},
    {"name": "latent", "perceptual": 0.0},
]


def smooth(random, count):
    """uint8 [count, SIZE, SIZE, 3]: no two alike."""
    coarse = random.integers(0, 256, (count, 4, 4, 3)).repeat(2, 1).repeat(2, 2)
    return (coarse + random.integers(-20, 20, coarse.shape)).clip(0, 255).astype(np.uint8)


def write(folder, images):
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{folder.name}{number:03}.png")


def make_folders(folder):
    """members, others, reference, samples; two of the others equal members. Numbers of samples that are members."""
    random = np.random.default_rng(3)
    members = smooth(random, MEMBERS)
    others = smooth(random, OTHERS)
    others[:2] = members[:2]
    samples = smooth(random, SAMPLES)
    replayed = random.random(SAMPLES) < REPLAYED
    samples[replayed] = members[random.integers(0, MEMBERS, replayed.sum())]
    for name, images in {"members": members, "others": others, "samples": samples}.items():
        write(folder / name, images)
    write(folder / "reference", smooth(random, REFERENCE))
    rows = [f"members{number:03}.png,p{number // 2}" for number in range(MEMBERS)]
    (folder / "persons.csv").write_text("\n".join(["file,person", *rows]) + "\n")
    return int(replayed.sum())


def document(folder, **sections):
    return {
        "study": "given",
        "release": {"name": "samples", "root": str(folder / "samples"), "recipient": "a colleague"},
        "data": {"cache": str(folder / "cache")},
        "split": {
            "name": "given",
            "members": str(folder / "members"),
            "non_members": str(folder / "others"),
            "reference": str(folder / "reference"),
            "groups": str(folder / "persons.csv"),
            "holdout": "random",
        },
        "attacks": ATTACKS,
        "controls": {"permutations": 199},
        "results": str(folder / "results"),
        "tracking": None,
        **sections,
    }


def run(folder, **sections):
    """What is missing, in this process; the exit code and the store."""
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(document(folder, **sections)))
    code = flow.sweep(flow.Options(config=str(file), yes=True, in_process=True))
    return code, Store(str(folder / "results"), "given")


def made_once():
    """A folder with a release that was run, made once a test run, and the number of samples that are members."""

    def make(folder):
        replayed = make_folders(folder)
        code, _ = run(folder)
        assert code == 0
        return replayed

    return once("given_release", make)


def copied(folder):
    """A copy of it that a test may change."""
    made, replayed = made_once()
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return replayed
