"""Quality in the features of a network that the user gives as an ONNX file."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from mia_core.errors import Refused
from mia_core.metrics import kernel_distance
from mia_core.metrics.onnx_extractor import OnnxExtractor
from mia_core.models import SampleFolder
from study.design.study_design import Design
from study.plan.memory import Memory
from study.run.measuring import QualityMeasuring
from study.store.exporting import public_settings
from tests.small import small_spec

SHAPE = (1, 8, 8)
WEIGHT = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)


def network(path, change=lambda model: None, batch="B", size=8, weight=WEIGHT):
    """Features tanh(x W) of images, as a file."""
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weight"], ["product"]),
        helper.make_node("Tanh", ["product"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "features",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 1, size, size])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, weight.shape[1]])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    change(model)
    path.write_bytes(model.SerializeToString())
    return str(path)


@pytest.fixture
def path(tmp_path):
    return network(tmp_path / "features.onnx")


def test_features_are_those_of_the_network_of_bytes_and_floats_alike(path):
    images = torch.randint(0, 256, (300, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = OnnxExtractor(path, SHAPE)
    expected = np.tanh((images.numpy().reshape(300, -1) / 127.5 - 1) @ WEIGHT)
    np.testing.assert_allclose(found.features(images), expected, atol=1e-4)
    assert torch.equal(found.features(images), found.features(images.float() / 127.5 - 1))
    assert torch.equal(found.features(images[7:8]), found.features(images)[7:8])
    assert found.digest == hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 16, "weight": np.ones((256, 5), np.float32)}, r"'B', 1, 16, 16\], and the images are \[1, 8, 8\]"),
        ({"size": "S", "weight": np.ones((256, 5), np.float32)}, r"does not take inputs of \[2, 1, 8, 8\]: .*MatMul"),
        ({"batch": 4}, "takes batches of 4 alone; export it with any number of images"),
        ({"change": lambda m: setattr(m.graph.node[2], "domain", "of.mine")}, "has the operator of.mine.Tanh"),
        ({"weight": np.full((64, 5), np.nan, np.float32)}, "gives no finite numbers"),
        ({"change": lambda m: m.graph.output.add().CopyFrom(m.graph.output[0])}, "has the outputs features"),
    ],
    ids=["size", "inner size", "batch", "operator", "nan", "outputs"],
)  # fmt: skip
def test_a_network_of_another_form_is_refused_with_its_section(tmp_path, settings, words):
    with pytest.raises(Refused, match=rf"^quality: .*{words}"):
        OnnxExtractor(network(tmp_path / "odd.onnx", **settings), SHAPE)


def test_a_file_that_is_none_is_refused_by_the_setting_that_names_it(tmp_path):
    with pytest.raises(Refused, match=r"^quality\.onnx: .*none.onnx cannot be read"):
        OnnxExtractor(str(tmp_path / "none.onnx"), SHAPE)
    with pytest.raises(Refused, match=r"copies\.extractors: onnx is the network of quality\.onnx, which is not given"):
        small_spec("quality.copies.extractors=[onnx]")


def test_samples_are_compared_in_its_features_and_its_hash_is_in_rows_and_ids(make_design, store, tmp_path, path):
    overrides = ("quality.measures=[kid, coverage, authenticity]", "quality.copies.extractors=[onnx]")
    design = make_design(f"quality.onnx={path}", *overrides)
    assert {wanted.label for wanted in design.measures.wanted} == set(design.spec.quality.labels)
    assert "kid_onnx_unseen" in design.spec.quality.labels
    trial = design.trials[0]
    samples = torch.from_numpy(design.pool.images[design.membership(trial).train]).float() / 127.5 - 1
    rows = QualityMeasuring(design, store).measure(trial, trial.measures, SampleFolder(samples)).rows
    assert {row.extractor for row in rows} == {"onnx"}
    extractor = OnnxExtractor(path, SHAPE)
    assert {row.extractor_sha256 for row in rows} == {extractor.digest}
    values = {(row.measure, row.against): row.value for row in rows}
    real = extractor.features(torch.from_numpy(design.pool.images[design.split.unseen]))
    assert values["kid", "unseen"] == pytest.approx(kernel_distance(extractor.features(samples), real))
    assert values["authenticity", "members"] == 0

    def ids(file):
        other = make_design(f"quality.onnx={file}", *overrides)
        return {wanted.label: wanted.measure_id for wanted in other.measures.wanted}

    moved = tmp_path / "moved.onnx"
    moved.write_bytes(Path(path).read_bytes())
    first = ids(path)
    assert ids(moved) == first
    changed = ids(network(moved, weight=2 * WEIGHT))
    assert not set(changed.values()) & set(first.values())
    network(tmp_path / "features.onnx", weight=2 * WEIGHT)
    with pytest.raises(Refused, match=r"^quality\.onnx: .* is another file than the one that was planned with"):
        QualityMeasuring(design, store).measure(trial, trial.measures, SampleFolder(samples))


def test_memory_is_planned_for_as_many_features_as_the_network_gives(make_design, tmp_path):
    def planned(features):
        file = network(tmp_path / f"{features}.onnx", weight=np.ones((64, features), np.float32))
        design = make_design(f"quality.onnx={file}", "quality.copies.extractors=[onnx]", "quality.measures=[kid]")
        assert design.measures.dimensions["onnx"] == features
        return Memory.of(design).worker_bytes

    few, many = 5, 200_000
    records = small_spec().quality.samples
    assert planned(many) - planned(few) > 8 * (many - few) * records - 2**26


def test_a_pool_of_one_class_is_measured_by_a_given_network(make_design, path):
    known = make_design()
    pool = replace(known.pool, labels=np.zeros_like(known.pool.labels))
    plain, given = (
        Design(small_spec("quality.measures=[kid]", "attacks=[white_box]", *more), pool)
        for more in ((), (f"quality.onnx={path}",))
    )
    assert plain.measures.skipped and not plain.measures.wanted
    assert given.measures.skipped is None and len(given.measures.wanted) == 2


def test_a_public_copy_does_not_name_its_path(make_design, path):
    resolved = make_design(f"quality.onnx={path}").spec.resolved
    shown = public_settings(resolved)
    assert resolved["quality"]["onnx"] == path and str(path) not in str(shown)
    assert {**shown["quality"], "onnx": path} == resolved["quality"]
    assert public_settings(make_design().spec.resolved)["quality"] == make_design().spec.resolved["quality"]
