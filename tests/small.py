"""The smallest study that has everything: two sizes, two nested levels, three arms, three attacks, all measures."""

import copy
import functools
import logging
import shutil
import subprocess
from pathlib import Path

from study.spec import documents
from study.spec.overrides import override
from study.spec.study_file import Spec, parse
from tests.commands import MIA_STUDY, run_here
from tests.shared import once

SMALL = """
study: small
seed: 7
data: {name: digits, size: 8}
split: {reference: 80, unseen: 40, panel: 40, extra_non_members: 40, known: 10}
target: {name: dcgan, width: 4, latent: 8}
training: {batch_size: 16}
factors:
  train_size: [40, 80]
  epochs: [1, 2]
  defense:
    - none
    - {name: dropout, rate: 0.5}
    - {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1.0e-5}
replicates: 2
attacks:
  - white_box
  - {name: euclidean, generated: 64}
  - {name: local_gan, steps: [2, 4], generated: 64, at: {epochs: last}, surrogate: {name: dcgan, width: 4, latent: 8}}
quality: {samples: 40, extractor: {features: 8, width: 4, steps: 20}}
tracking: ~
"""


_document = functools.cache(functools.partial(documents.parse, SMALL, "small"))


def small_spec(*overrides: str) -> Spec:
    """The study, with `key=value` overrides."""
    document = copy.deepcopy(_document())
    for setting in overrides:
        override(document, setting)
    return parse(document)


def sweep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`mia-study sweep small.yaml` in this process, on its one Ray; with an MLflow database and results in a folder."""
    start_ray()
    add_database(folder)
    return run_here("sweep", folder, "small.yaml", "--set", f"tracking={database(folder)}", *arguments)


def sweep_apart(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same as a user types it: a process and a Ray of its own."""
    command = [*MIA_STUDY, "sweep", "small.yaml", "--set", "tracking=sqlite:///mlflow.db", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False, umask=0o022)


def start_ray() -> None:
    """The Ray of this process, which sweeps in it use while it is there: one of its own for each takes ten seconds."""
    import ray

    if not ray.is_initialized():
        own = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 200 * 2**20}
        ray.init(address="local", logging_level=logging.ERROR, log_to_driver=False, **own)


def database(folder: Path) -> str:
    """An absolute URI: MLflow keeps connections by it, one a process."""
    return f"sqlite:///{folder}/mlflow.db"


def add_database(folder: Path) -> None:
    """Put an MLflow database without runs into a folder that has none; making its tables takes ten seconds."""
    from mlflow.tracking import MlflowClient

    def make(folder: Path) -> None:
        MlflowClient(database(folder)).get_experiment_by_name("small")

    if not (folder / "mlflow.db").exists():
        shutil.copy(once("mlflow", make)[0] / "mlflow.db", folder)
