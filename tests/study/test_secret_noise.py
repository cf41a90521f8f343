"""An adversary with all that a store has tries to draw the noise and the samples of a private training again.

It has the source, the settings with their seed, every file of the sealed store and of its public copy, what goes to
MLflow, the initial and final weights and the state of the optimizers, and even the records. The training is of one
step, so what the optimizer kept is that step's gradient, and the generated records' share of it can be computed: what
is left is a clipped sum and the noise. A guess of the noise is right where the two correlate.
"""

import base64
import hashlib
import itertools
import json
import re

import numpy as np
import pytest
import torch

from mia_core.hashing import canonical_json
from mia_core.secret_draws import KEY_BYTES, SecretDraws
from mia_core.streams import Streams
from study.design.design_rows import design_rows
from study.design.work import missing
from study.run.runner import Runner
from study.run.trajectory import new_trainer
from study.store import Store, compact, read
from study.store.exporting import export_public
from study.store.noise import SECRET
from study.store.tensors import parse_tensors
from study.tracking.run_content import run_content

STUDY = (
    "factors={train_size: [40], steps: [1], defense: [{name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1e-5}]}",
    "replicates=1", "attacks=[white_box]", "quality.measures=[]", "compute.checkpoint_seconds=0.000000001",
    "controls={blind: false, nulls: 0, copycat: false}",
)  # fmt: skip
KEY = hashlib.sha256(b"a key of a test").digest()
RIGHT = 0.5
"""Correlation over `SHOWN` numbers: about .9 for the true noise, and 0 with a standard deviation of .06 for another."""
SHOWN = 256


@pytest.fixture
def design(make_design):
    return make_design(*STUDY)


def trained(design, store, key):
    """The one trial, trained and sealed, in a store as a sweep leaves it."""
    (works,) = missing(design, store).values()
    (sealed,) = Runner(design, store, key=key).run(works)
    assert not sealed.failed
    store.publish(design.hash, design.spec.resolved, design_rows(design), {"git_commit": "abc"})
    compact(store)
    return sealed.trial


def contents(*folders):
    """Bytes of every file, what is compressed in tables as text too."""
    found = [path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()]
    for folder in folders:
        store = Store.at(folder)
        for table in ("trials", "quality", "attacks", "history", "design"):
            frame = read(store.root, store.study, table)
            found += [str(value).encode() for column in frame for value in frame[column]]
    return found


def mlflow_content(store, trial):
    """All that goes to an MLflow run, as text."""
    content = run_content(store, trial.trial_id, include_records=True)
    return [repr(content).encode(), *content.files.values()]


# What an adversary knows, and tries


def noisy_part(design, trial, store):
    """float32 [.]: of the discriminator's first gradient, what is left without the generated records' share."""
    tensors, _ = store.sealed_tensors(f"resume/{trial.trajectory_id}-1", trial.trial_id)
    again = new_trainer(design, trial, design.membership(trial), "cpu", bytes(KEY_BYTES))
    again.learner.rule = lambda networks, losses, records, rows: {"discriminator": torch.zeros(0)}
    again.run_to(1)
    kept = 1 - trial.cell.training.beta1
    parameters = again.optimizers["discriminator"].param_groups[0]["params"]
    moments = (tensors[f"optimizer.discriminator.{index}.exp_avg"] for index in range(len(parameters)))
    return torch.cat([(moment / kept - p.grad).flatten() for moment, p in zip(moments, parameters, strict=True)])


def keys_in(blobs):
    """Every 32 bytes in a row, and what stands there as hexadecimal digits or in base 64."""
    for blob in set(blobs):
        for start in range(len(blob) - KEY_BYTES + 1):
            yield blob[start : start + KEY_BYTES]
        for digits in re.findall(rb"[0-9a-fA-F]{64,}", blob):
            yield from (bytes.fromhex(digits[i : i + 64].decode()) for i in range(len(digits) - 63))
        for digits in re.findall(rb"[A-Za-z0-9+/]{43,}", blob):
            if len(digits) < 1000:
                yield from (base64.b64decode(digits[i : i + 43] + b"=") for i in range(len(digits) - 42))


def paths(design, trial):
    """Names of random streams that a store and its source lead to."""
    seed = design.spec.seed
    words = ("dp_noise", "training", "noise", "samples", "attack", "canary", "split", "search")
    ids = (trial.trajectory_id, trial.trial_id, trial.replicate, design.hash, design.pool.digest)
    yield from ((word, seed, *rest) for word in words for rest in [(), *((name,) for name in ids)])
    yield from ((seed,), (trial.trajectory_id,), (trial.trial_id,))


def derived_keys(design, trial):
    """Keys that would be functions of what is known."""
    yield bytes(KEY_BYTES)
    yield design.spec.seed.to_bytes(KEY_BYTES, "big")
    yield design.spec.seed.to_bytes(KEY_BYTES, "little")
    for path in paths(design, trial):
        for name in (path, [path, "noise", []], [path, "noise", [0]], [path, "key", []]):
            yield hashlib.sha256(canonical_json(name).encode()).digest()
        yield hashlib.sha256("".join(map(str, path)).encode()).digest()


def seeded_noise(design, trial):
    """Noise from seeded generators, as earlier versions drew theirs, and as others might."""
    shapes = [p.shape for p in trial.cell.target.build(design.pool.image_shape).discriminator.parameters()]

    def parameter_by_parameter(generator):
        return torch.cat([torch.empty(shape).normal_(generator=generator).flatten() for shape in shapes])

    for path in paths(design, trial):
        for name in itertools.product(("noise", "poisson", "latent"), [(), (0,), (1,)]):
            yield parameter_by_parameter(Streams(*path).torch(name[0], *name[1]))
            seed = Streams(*path).seed(name[0], *name[1])
            yield parameter_by_parameter(torch.Generator().manual_seed(seed))
            yield torch.from_numpy(np.random.default_rng(seed).standard_normal(SHOWN)).float()
    yield parameter_by_parameter(torch.Generator().manual_seed(design.spec.seed))


def is_right(noise, seen):
    return abs(float(torch.corrcoef(torch.stack([noise[:SHOWN], seen[:SHOWN]]))[0, 1])) > RIGHT


def broken_by(design, trial, store, blobs):
    """The first key or seed that opens the noise, None where none does."""
    seen = noisy_part(design, trial, store)
    for key in itertools.chain(derived_keys(design, trial), keys_in(blobs)):
        if is_right(SecretDraws(key).normal("noise", 0, len(seen)), seen):
            return key
    for noise in seeded_noise(design, trial):
        if is_right(noise, seen):
            return noise
    return None


@pytest.mark.parametrize("reads_files", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_adversary_with_all_that_a_store_has_does_not_draw_the_noise_again(design, store, tmp_path, reads_files):
    """Whoever reads no file tries all that follows from names; one that does, 32 bytes from every place, takes long."""
    trial = trained(design, store, None)
    export_public(store, tmp_path / "public")
    blobs = [*contents(store.folder, tmp_path / "public"), *mlflow_content(store, trial)] if reads_files else []
    assert broken_by(design, trial, store, blobs) is None


@pytest.mark.parametrize("leak", ["of the seed", "in a file", "in hexadecimal", "in base 64"])
def test_the_same_adversary_opens_the_noise_of_a_key_that_leaks(design, store, leak):
    (trial,) = design.trials
    name = canonical_json([("dp_noise", design.spec.seed, trial.trajectory_id), "noise", [0]])
    key = hashlib.sha256(name.encode()).digest() if leak == "of the seed" else KEY
    assert trained(design, store, key) == trial
    blobs = {
        "of the seed": [],
        "in a file": [b"a file with " + key + b" in it"],
        "in hexadecimal": [json.dumps({"key": key.hex()}).encode()],
        "in base 64": [b"key: " + base64.b64encode(key)],
    }
    assert broken_by(design, trial, store, blobs[leak]) == key


def seeded_samples(design, trial, count):
    """Who would be in the first step, by seeded draws of every name that a store leads to."""
    rate = design.sampling_rate(trial.cell)
    for path in paths(design, trial):
        streams = Streams(*path)
        for counter in ((), (0,), (1,)):
            yield np.flatnonzero(streams.numpy("poisson", *counter).random(count) < rate).tolist()
            old = np.random.default_rng(streams.seed("poisson", *counter))
            yield np.flatnonzero(old.random(count) < rate).tolist()
    for key in derived_keys(design, trial):
        yield np.flatnonzero(SecretDraws(key).uniform("poisson", 0, count) < rate).tolist()


PERSONS = (STUDY[0].replace("1e-5}", "1e-5, unit: person}"), *STUDY[1:])


@pytest.mark.parametrize("study", [STUDY, PERSONS], ids=["record", "person"])
@pytest.mark.parametrize("sigma", [1.0, 0.0])
def test_samples_of_a_private_training_follow_from_no_name_and_those_of_one_without_a_guarantee_do(
    make_design, sigma, study
):
    design = make_design(study[0].replace("sigma: 1.0", f"sigma: {sigma}"), *study[1:])
    (trial,) = design.trials
    trainer = new_trainer(design, trial, design.membership(trial), "cpu")
    sampled = trainer.batches.rows(0).records.tolist()
    assert len(sampled) > 4
    assert (sampled in list(seeded_samples(design, trial, len(trainer.images)))) == (sigma == 0)


def written_forms(key):
    """As which a key may stand in a file, wherever base 64 begins."""
    shifted = [base64.b64encode(bytes(offset) + key)[4:40] for offset in range(3)]
    return [key, key[::-1], key.hex().encode(), key.hex().upper().encode(), *shifted, repr(key)[2:-1].encode()]


@pytest.mark.parametrize("study", [STUDY, PERSONS], ids=["record", "person"])
def test_the_key_is_in_unsealed_checkpoints_and_in_nothing_that_is_left(
    make_design, store, tmp_path, monkeypatch, capfd, study
):
    design = make_design(*study)
    saved, save = [], Store.save_checkpoint

    def watched(self, *arguments):
        save(self, *arguments)
        saved.extend(path for path in (store.folder / "checkpoints").rglob("*") if path.is_file())
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in saved)
        (state,) = {parse_tensors(path.read_bytes())[1]["key"] for path in saved}
        assert state == KEY.hex()

    monkeypatch.setattr(Store, "save_checkpoint", watched)
    trial = trained(design, store, KEY)
    assert saved
    assert not any(path.exists() for path in saved)
    export_public(store, tmp_path / "public")
    said = "".join(capfd.readouterr()).encode()
    blobs = [*contents(store.folder, tmp_path / "public"), *mlflow_content(store, trial), said]
    assert len(blobs) > 100
    for form in written_forms(KEY):
        assert not [blob for blob in blobs if form in blob]
    assert read(store.root, store.study, "trials")["noise_key"].tolist() == [SECRET]


def test_an_erased_checkpoint_is_overwritten_before_it_is_removed(store):
    store.save_checkpoint("j", {}, {"step": 1, "key": KEY.hex()})
    (path,) = (store.folder / "checkpoints/j").iterdir()
    with path.open("rb") as held:  # the file's content, which no name leads to any more
        store.drop_checkpoints("j")
        assert held.read().strip(b"\0") == b""
    assert not path.parent.exists()


def test_a_second_training_of_the_same_trial_has_other_noise_and_other_samples(design, tmp_path):
    # Of the same data, seed and settings, so with the same id.
    seen, batches = [], []
    for folder in ("a", "b"):
        store = Store(tmp_path / folder, "small")
        trial = trained(design, store, None)
        seen.append(noisy_part(design, trial, store))
        trainer = new_trainer(design, trial, design.membership(trial), "cpu")
        batches.append([trainer.batches.rows(step).records.tolist() for step in range(3)])
    assert not is_right(*seen)
    assert batches[0] != batches[1]
