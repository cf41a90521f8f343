"""What no machine could do is refused by arithmetic: at once, in little memory, in one line with the value."""

import json
import time
import tracemalloc

import pytest

from mia_core.errors import Refused
from study.outcomes import REFUSED
from study.spec import bounds, documents
from study.spec.overrides import override
from study.spec.study_file import parse, read
from tests.commands import mia_study
from tests.small import SMALL

SECONDS, BYTES = 1.0, 100 * 2**20
FACTORS = '{"train_size": [40], "epochs": [1]'
MANY = list(range(1, 10**6 + 1))
RANGE = 'factors.target.width={low: 4, high: 8, kind: integer}'  # fmt: skip

HUGE = {
    "replicates": (["replicates=1000000000"], "replicates=1000000000"),
    "more than a number of 64 bits": (["replicates=9000000000000000000"], "more than 10^18"),
    "points at random": ([RANGE, "design={name: random, points: 1000000000}"], "1000000000 points"),
    "points of a Latin square": ([RANGE, "design={name: latin_hypercube, points: 1000000000}"], "1000000000 points"),
    "points of Sobol": ([RANGE, "factors.defense=[none]", "design={name: sobol, points: 1048576}"], "1048576"),
    "points in replicates": ([RANGE, "design={name: random, points: 100000}", "replicates=100"], "10000000 trials"),
    "points of a search": (
        [RANGE, "search={objectives: [{minimize: white_box.auc}], points: 1000000000}"], "1000000000 points"),
    "epochs": (["factors.epochs=[1000000000000]"], "updates of one target"),
    "steps": (["factors={train_size: [40], steps: [1000000000000]}"], "updates of one target"),
    "permutations": (["controls.permutations=1000000000000"], "controls.permutations"),
    "canaries": (["audit={canaries: [noise], count: 1000000000}"], "audit.count"),
    "trainings with canaries": (["audit={canaries: [noise], trainings: 1000000000}"], "audit.trainings"),
}  # fmt: skip

LISTS = {
    "levels of epochs": ({"factors": {"train_size": [40], "epochs": MANY}}, "factors.epochs: 1000000 levels"),
    "levels of a setting": ({"factors": {"train_size": [40], "epochs": [1], "target.width": MANY}}, "1000000 levels"),
    "arms": ({"factors": {"train_size": [40], "epochs": [1], "defense": [{"name": "dropout", "rate": MANY}]}}, "arms"),
    "arms of several settings": (
        {"factors": {"train_size": [40], "epochs": [1], "defense": [
            {"name": "dp_sgd", "sigma": MANY[:900], "clip": MANY[:900], "delta": 1e-5}]}}, "810000 arms"),
    "a grid": (
        {"factors": {"train_size": [40], "epochs": [1],
                     **{f"training.{name}": [value / 1000 for value in MANY[:900]]
                        for name in ("learning_rate", "beta1")}}}, "810000 combinations"),
    "a grid of many factors": (
        {"factors": {"train_size": MANY[:900], "epochs": MANY[:900],
                     **{f"target.{name}": MANY[:900] for name in ("width", "latent")},
                     **{f"training.{name}": MANY[1:900] for name in ("batch_size", "generator_every")},
                     "training.learning_rate": [value / 1000 for value in MANY[:900]]}},
        "more than 10^18"),
    "attacks": ({"attacks": [{"name": "euclidean", "generated": MANY}]}, "attacks[0].generated: 1000000 values"),
    "levels of an attack": ({"attacks": [{"name": "local_gan", "steps": MANY}]}, "attacks[0].steps: 1000000 values"),
    "levels of attacks": (
        {"attacks": [{"name": "local_gan", "steps": MANY[:600], "label": word} for word in ("a", "b")]},
        "1200 attacks and levels"),
    "results": (
        {"attacks": [{"name": "local_gan", "steps": MANY[:900]}], "replicates": 2000}, "results (900 attacks"),
    "drawn points": ({"design": {"name": "random", "points": 10, "drawn":
                      {name: [0] * 10**6 for name in ("defense", "epochs", "train_size")}}}, "1000000 points"),
}  # fmt: skip


def refusal(document):
    """What is said of it; and that it took no time and no memory."""
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(Refused) as refused:
            parse(document)
        seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < BYTES, f"{peak / 2**20:.0f} MiB"
    assert seconds < 3 * SECONDS  # memory is being traced
    said = str(refused.value)
    assert "\n" not in said and len(said) < 500
    return said


@pytest.fixture(autouse=True)
def sampler():
    """Imported before, as it imports pictures."""
    import SALib.sample.sobol  # noqa: F401


@pytest.mark.parametrize("kind", HUGE)
def test_a_number_that_is_too_large_is_refused_before_anything_is_built(kind):
    overrides, words = HUGE[kind]
    document = documents.parse(SMALL, "small")
    for setting in overrides:
        override(document, setting)
    assert words in refusal(document)


@pytest.mark.parametrize("kind", LISTS)
def test_so_are_too_many_levels_and_combinations(kind):
    change, words = LISTS[kind]
    assert words in refusal({**documents.parse(SMALL, "small"), **change})


@pytest.mark.parametrize("command", [["sweep", "--plan"], ["sweep"], ["trial"], ["near-duplicates"]])
def test_every_command_that_would_run_it_refuses_it(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    started = time.process_time()
    words = [command[0], "small.yaml", *command[1:], "--set", "replicates=1000000000"]
    assert mia_study(words[0])(words[1:]) == REFUSED
    assert time.process_time() - started < SECONDS
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "replicates=1000000000" in said
    assert not (tmp_path / "results").exists()


def test_a_study_at_the_bounds_is_taken(monkeypatch):
    monkeypatch.setattr(bounds, "MOST_TRIALS", 24)
    parse(documents.parse(SMALL, "small"))
    document = documents.parse(SMALL, "small")
    override(document, "replicates=3")
    with pytest.raises(Refused, match="36 trials, and a study may have 24; lower replicates"):
        parse(document)


def test_a_product_is_followed_as_far_as_it_is_said():
    assert bounds.product([]) == 1
    assert bounds.product([10**9, 10**9]) == 10**18
    assert bounds.product([10**9, 10**9, 2]) == bounds.BEYOND + 1
    assert bounds.product([10] * 10**6) == bounds.BEYOND + 1


def test_a_study_file_of_a_million_levels_is_refused_as_a_file(tmp_path):
    path = tmp_path / "study.json"
    path.write_text(json.dumps({**documents.parse(SMALL, "small"), "factors": {"train_size": [40], "epochs": MANY}}))
    with pytest.raises(Refused, match=r"factors\.epochs: 1000000 levels are more than the 1000"):
        read(path)
