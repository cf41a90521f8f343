"""Fault 17: checkpoints and resume states that are whole, and sealed, but made by an enemy."""

import re
import shutil

import pytest
import torch

from mia_core.data import load_pool
from mia_core.training import VERSION
from study.design.study_design import Design
from study.design.work import missing
from study.run.runner import Runner
from study.run.trajectory import new_trainer
from study.store import Damaged, Store, files, seals, to_bytes
from study.store.tensors import parse_tensors
from tests.small import small_spec

DP = "{name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1.0e-5}"
FEW = ("factors.train_size=[40]", f"factors.defense=[{DP}]", "replicates=1", "attacks=[white_box]",
       "quality.measures=[]", "controls={blind: false, nulls: 0, copycat: false}")  # fmt: skip


def first(tensors, prefix):
    return next(name for name in sorted(tensors) if name.startswith(prefix) and tensors[name].ndim)


def shape(tensors, rest):
    name = first(tensors, "target.")
    tensors[name] = torch.cat([tensors[name], tensors[name]])


def moments(tensors, rest):
    name = first(tensors, "optimizer.")
    tensors[name] = tensors[name][:1]


def kind(tensors, rest):
    name = first(tensors, "target.")
    tensors[name] = tensors[name].double()


def missing_weight(tensors, rest):
    del tensors[first(tensors, "target.")]


def missing_moments(tensors, rest):
    del tensors[first(tensors, "optimizer.")]


def no_optimizer(tensors, rest):
    for name in [name for name in tensors if name.startswith("optimizer.")]:
        del tensors[name]


def huge(tensors, rest):
    tensors["target.another"] = torch.zeros(2**22)


def infinite(tensors, rest):
    tensors[first(tensors, "target.")][0] = float("nan")


def counter(key, value):
    def harm(tensors, rest):
        rest[key] = value

    harm.__name__ = f"{key}={str(value)[:30]}"
    return harm


ODD = {
    "step": [-1, 10**18, 2**70, 2.5, True, "3", None, [3]],
    "spent": [
        [[1.0, 0.5, 3]],
        [[9.0, 0.4, 3]],
        [[1.0, 0.4, -3]],
        [[1.0, 0.4, 0]],
        [],
        [[1.0]],
        "spent",
        {"a": 1},
    ],
    "history": [[[1]], {"a": 1}, [{"epoch": 1}], [{"epoch": -1, "step": 3, "seconds": 1.0, "means": {}}]],
    "begun_epoch": [[1], {"a": ["x"]}, {"a": 1}],
    "begun_seconds": [-1.0, "1", None],
    "key": ["", "00", 5, "zz" * 32, "00" * 33],
    "version": [None, 1, VERSION + 1, str(VERSION), VERSION + 0.5],
}
HARMS = [
    shape, moments, kind, missing_weight, missing_moments, no_optimizer, huge, infinite,
    *(counter(key, value) for key, values in ODD.items() for value in values),
]  # fmt: skip


@pytest.fixture(scope="module")
def designs():
    """One with a level, and one that goes on to a second."""
    specs = [small_spec(*FEW, f"factors.epochs={levels}") for levels in ("[1]", "[1, 2]")]
    return [Design(spec, load_pool(spec.data)) for spec in specs]


@pytest.fixture(scope="module")
def begun(designs, tmp_path_factory):
    """A store with the first level sealed."""
    store = Store(tmp_path_factory.mktemp("begun"), "small")
    run(designs[0], store)
    return store


@pytest.fixture(scope="module")
def undisturbed(designs, begun, tmp_path_factory):
    """The bytes of targets and resume states of both levels, by name."""
    store = Store(shutil.copytree(begun.folder, tmp_path_factory.mktemp("undisturbed") / "small").parent, "small")
    run(designs[1], store)
    return kept(store)


@pytest.fixture
def store(begun, tmp_path):
    return Store(shutil.copytree(begun.folder, tmp_path / "small").parent, "small")


def run(design, store):
    for works in missing(design, store).values():
        assert not [sealed.failed for sealed in Runner(design, store, key=bytes(32)).run(works) if sealed.failed]


def kept(store):
    """Without the nonce of the attempt in names."""
    paths = [path for kind in ("targets", "resume") for path in (store.folder / kind).iterdir()]
    return {(path.parent.name, path.name.rpartition("-")[0]): path.read_bytes() for path in paths}


def harmed(store, harm):
    """The sealed resume state with one harm: its path, and its bytes."""
    (path,) = (store.folder / "resume").iterdir()
    tensors, rest = parse_tensors(path.read_bytes())
    rest["seconds"] = 1.0
    harm(tensors, rest)
    return path, to_bytes(tensors, rest)


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_whole_checkpoint_of_a_strange_state_is_passed_over(designs, store, undisturbed, harm):
    path, data = harmed(store, harm)
    folder = store.folder / "checkpoints" / path.stem.partition("-")[0]
    folder.mkdir(parents=True)
    (folder / f"{3:010d}-{files.sha256(data)[:16]}.safetensors").write_bytes(data)
    run(designs[1], store)
    assert kept(store) == undisturbed


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_sealed_resume_state_that_is_strange_is_refused_by_name(designs, store, harm):
    path, data = harmed(store, harm)
    path.write_bytes(data)
    (name,) = store.passes()
    marker = store.marker(name)
    marker["files"][f"resume/{path.name}"] = files.seal(data)
    (store.folder / "done" / f"{name}.json").write_bytes(seals.to_json(marker))
    with pytest.raises(Damaged, match=re.escape(f"resume/{path.name}: ")) as refused:
        run(designs[1], store)
    assert "\n" not in str(refused.value)
    assert store.passes() == [name]


def test_a_sound_state_of_another_training_is_refused(designs, store):
    spec = small_spec(*FEW[:1], "factors.defense=[none]", *FEW[2:], "factors.epochs=[1]")
    other = Design(spec, load_pool(spec.data))
    trainer = new_trainer(other, other.trials[0], other.membership(other.trials[0]), "cpu")
    trainer.run_to(3)
    tensors, rest = trainer.state()
    _, data = harmed(store, lambda own, state: (own.clear(), own.update(tensors), state.clear(), state.update(rest)))
    mine = new_trainer(designs[1], designs[1].trials[0], designs[1].membership(designs[1].trials[0]), "cpu")
    with pytest.raises(ValueError, match="does not belong to"):
        mine.restore(*parse_tensors(data))
