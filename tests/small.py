"""The smallest study that has everything: two sizes, two nested levels, three arms, three attacks, all measures."""

import subprocess
from pathlib import Path

from study.spec import documents
from study.spec.study_file import Spec, override, parse
from tests.commands import MIA_STUDY

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


def small_spec(*overrides: str) -> Spec:
    """The study, with `key=value` overrides."""
    document = documents.parse(SMALL, "small")
    for setting in overrides:
        override(document, setting)
    return parse(document)


def sweep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`mia-study sweep small.yaml` in a folder, with a MLflow database and results there, and the usual umask."""
    command = [*MIA_STUDY, "sweep", "small.yaml", "--set", "tracking=sqlite:///mlflow.db", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False, umask=0o022)
