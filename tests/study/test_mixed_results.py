"""No two things in one column: feature networks, labels, rows of other trials; and what markers and rows may say."""

import json
import shutil

import pyarrow as pa
import pytest

from mia_core.data import load_pool
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing
from study.run.feature_spaces import feature_network, require_same_network
from study.run.runner import Runner
from study.store import Damaged, Store, compact, read, seals
from tests.commands import mia_study
from tests.forging import rewrite
from tests.small import small_spec

FEW = ("factors.train_size=[40]", "factors.defense=[none]", "factors.epochs=[1, 2]", "replicates=1", "controls.nulls=0",
       "controls.blind=false", "controls.copycat=false", "attacks=[white_box]", "quality.measures=[kid]")  # fmt: skip


def run(design, store):
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})
    for works in missing(design, store).values():
        list(Runner(design, store).run(works))


@pytest.fixture(scope="module")
def pool():
    return load_pool(small_spec().data)


@pytest.fixture(scope="module")
def sound(pool, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("sound"), "small")
    run(Design(small_spec(*FEW), pool), store)
    return store


@pytest.fixture
def copy(sound, tmp_path):
    return Store(shutil.copytree(sound.folder, tmp_path / "results" / "small").parent, "small")


def lose_network(store, pool):
    """Its features/ is gone, and another machine trains it to other bits."""
    design = Design(small_spec(*FEW), pool)
    tensors, _ = store.feature_network(design.recipe.id)
    shutil.rmtree(store.folder / "features")
    return {name: tensor + 1e-6 if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def test_another_feature_network_is_refused_before_it_measures_anything(copy, pool, monkeypatch):
    design, other = Design(small_spec(*FEW, "replicates=2"), pool), lose_network(copy, pool)
    copy.save_feature_network(design.recipe.id, other)
    with pytest.raises(
        ValueError, match=r"measured by the network of sha256 .* bring back .*features/.*quality.extrac"
    ):
        require_same_network(design, copy, feature_network(design, copy)[1])


def test_a_network_that_is_lost_and_trains_to_other_bits_is_refused_and_not_kept(copy, pool, monkeypatch):
    design, other = Design(small_spec(*FEW, "replicates=2"), pool), lose_network(copy, pool)
    plain = "study.run.feature_spaces.train_extractor"
    from mia_core.metrics.extractor import Extractor

    def train(recipe, images, labels):
        network = Extractor(recipe)
        network.load_state_dict(other)
        return network

    monkeypatch.setattr(plain, train)
    with pytest.raises(ValueError, match="measured by the network of sha256"):
        feature_network(design, copy)
    assert copy.feature_network(design.recipe.id) is None


def test_a_network_that_is_lost_and_trains_to_the_same_bits_goes_on(copy, pool):
    design = Design(small_spec(*FEW, "replicates=2"), pool)
    lose_network(copy, pool)
    require_same_network(design, copy, feature_network(design, copy)[1])


@pytest.mark.parametrize("compacted", [False, True])
def test_quality_of_two_networks_is_refused_by_readers_and_found_by_check_and_its_advice_helps(
    copy, pool, capsys, compacted
):
    seen = []

    def forge(rows):
        seen.append(1)
        at = rows.column_names.index("extractor_sha256")
        return rows if len(seen) > 1 else rows.set_column(at, "extractor_sha256", pa.array(["ab" * 32] * len(rows)))

    rewrite(copy, "quality", forge)
    if compacted:
        compact(copy)
    for table in ("quality", "wide"):
        with pytest.raises(Damaged, match=r"2 feature networks .*quality\.extractor"):
            read(copy.root, "small", table)
    assert len(read(copy.root, "small", "attacks")) == 2
    assert set(read(copy.root, "small", "quality", all=True)["extractor_sha256"]) > {"ab" * 32}
    assert mia_study("store check")([str(copy.folder)]) == 1
    assert "DAMAGED quality: a measure of quality was made by 2 feature networks" in capsys.readouterr().out
    trained = {name for name, done in copy.done().items() if done.train}
    run(Design(small_spec(*FEW, "quality.extractor.steps=21"), pool), copy)
    assert {name for name, done in copy.done().items() if done.train} == trained
    assert read(copy.root, "small", "quality")["extractor_sha256"].nunique() == 1


@pytest.mark.parametrize(
    "attacks",
    [
        "[{name: local_gan, label: x, steps: [2, 4]}, {name: white_box, label: x_steps4}]",
        "[{name: white_box, label: x}, {name: euclidean, label: x_steps9}]",
        "[{name: white_box, label: x_steps1}, {name: euclidean, label: x_steps1_steps2}]",
    ],
)
def test_a_label_that_reads_as_a_level_of_another_attack_is_refused(attacks):
    with pytest.raises(ValueError, match=r"reads as a level of .*; give it another `label:`"):
        small_spec(f"attacks={attacks}")


def test_a_label_with_steps_that_is_nobodys_level_is_one():
    assert [a.label for a in small_spec("attacks=[{name: white_box, label: x_steps4}]").attacks] == ["x_steps4"]


# Markers


def marker_of(store):
    name = store.passes()[0]
    return name, json.loads((store.folder / "done" / f"{name}.json").read_bytes())


ODD_MARKERS = {
    "no time": {"sealed_at": "yesterday"},
    "a time without a zone": {"sealed_at": "2026-01-01T00:00:00"},
    "a number for a time": {"sealed_at": 3},
    "an odd format": {"format": "4"},
    "an earlier format": {"format": 3},
    "a later format": {"format": 5},
    "odd flags": {"flags": "x"},
    "an attack twice": {"work": {"train": True, "attacks": ["a", "a"], "measures": []}},
    "attacks that are no words": {"work": {"train": True, "attacks": [["a"]], "measures": []}},
    "a number for a training": {"work": {"train": 1, "attacks": [], "measures": []}},
    "another trial": {"trial_id": "0123456789abcdef"},
}


@pytest.mark.parametrize("kind", ODD_MARKERS)
def test_a_marker_that_says_what_none_says_is_damaged(sound, kind):
    name, marker = marker_of(sound)
    del marker["sha256"]
    seals.parse_marker(name, seals.to_json(marker))
    with pytest.raises(ValueError):
        seals.parse_marker(name, seals.to_json({**marker, **ODD_MARKERS[kind]}))


@pytest.mark.parametrize("seal", [{"bytes": True}, {"bytes": -1}, {"bytes": 1.0}, {"sha256": "x"}, {"sha256": 3}])
def test_a_seal_that_is_none_is_damage(sound, seal):
    name, marker = marker_of(sound)
    del marker["sha256"]
    relative = next(iter(marker["files"]))
    marker["files"][relative] |= seal
    with pytest.raises(ValueError, match="odd seal"):
        seals.parse_marker(name, seals.to_json(marker))


def test_a_resume_state_of_another_attempt_is_none_of_a_markers(sound):
    name, marker = next((n, m) for n, m in sound.markers().items() if any("resume/" in file for file in m["files"]))
    files = {file.replace(marker["nonce"], "0" * 8) if "resume/" in file else file: seal
             for file, seal in marker["files"].items()}  # fmt: skip
    with pytest.raises(ValueError, match="no file of its own"):
        seals.parse_marker(name, seals.to_json({**marker, "files": files}))


@pytest.mark.parametrize(
    "passes", [3, "x", None, [["a"]], [{"a": 1}], {"a": 3}, {"a b": "x"}, {"a": ["x"]}, [1], True], ids=str
)
def test_a_manifest_of_odd_passes_is_damage(copy, passes):
    compact(copy)
    (path,) = (copy.folder / "compacted").glob("*.json")
    manifest = json.loads(path.read_bytes())
    del manifest["sha256"]
    name = seals.content_id(passes)
    files = {file.replace(path.stem, name): seal for file, seal in manifest["files"].items()}
    with pytest.raises(ValueError, match="odd passes"):
        seals.parse_manifest(name, seals.to_json({"name": name, "passes": passes, "files": files}))


@pytest.mark.parametrize("section", ["data", "split", "training", "factors", "replicates", "attacks", "audit"])
@pytest.mark.parametrize("value", [None, 3.5, True, "x", [[]]], ids=str)
def test_a_spec_whose_sections_are_of_other_types_is_damage(sound, section, value):
    odd = {**sound.resolved(), section: "x" if (section, value) == ("audit", None) else value}
    with pytest.raises(ValueError):
        seals.parse_spec(json.dumps(odd).encode())
    if section != "audit":
        with pytest.raises(ValueError, match=f"lacks the section {section}"):
            seals.parse_spec(json.dumps({key: odd[key] for key in odd if key != section}).encode())


# Rows


def changed(column, value):
    def change(rows):
        if column not in rows.column_names:
            return rows
        at = rows.column_names.index(column)
        return rows.set_column(at, column, pa.array([value] * len(rows), rows.schema.types[at]))

    return change


ODD_ROWS = {
    ("trials", "train_size"): -1, ("trials", "delta"): 1.5, ("trials", "epsilon"): -0.1,
    ("trials", "seconds_train"): float("nan"), ("trials", "strength"): float("inf"), ("trials", "trial_id"): "other",
    ("trials", "finished_at"): 2**62, ("attacks", "auc"): 1.01, ("attacks", "advantage"): -1.01,
    ("attacks", "attack_id"): "other", ("attacks", "tpr_at_1pct_fpr"): float("nan"), ("attacks", "judged"): -3,
    ("quality", "measure_id"): "other", ("quality", "value"): float("inf"), ("scores", "query"): -1,
    ("scores", "attack_id"): "other", ("scores", "trial_id"): "other", ("scores", "query "): 0,
    ("history", "loss_generator"): float("nan"), ("history", "epoch"): -1,
}  # fmt: skip


@pytest.mark.parametrize(("table", "column"), ODD_ROWS)
def test_a_row_that_no_pass_writes_is_refused_by_readers_and_found_by_check(copy, capsys, table, column):
    value = ODD_ROWS[table, column]
    rewrite(copy, table, changed(column.strip(), value))
    with pytest.raises(Damaged):
        read(copy.root, "small", table)
    assert mia_study("store check")([str(copy.folder)]) == 1
    assert f"DAMAGED {table}/" in capsys.readouterr().out


@pytest.mark.parametrize("table", ["trials", "quality", "attacks", "scores", "history"])
def test_a_row_that_is_there_twice_is_refused(copy, table):
    rewrite(copy, table, lambda rows: pa.concat_tables([rows, rows]))
    with pytest.raises(Damaged, match="has a row twice"):
        read(copy.root, "small", table)
