"""What can be given: samples in folders and files, an ONNX generator, weights, a function; and what is refused."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import save_file

from mia_core.data.images import ImageSettings
from mia_core.errors import Refused
from mia_core.releases import RELEASES, Form
from mia_core.releases.sample_arrays import as_pixels
from mia_core.streams import Streams
from mia_core.targets import TARGETS

LATENT, SIZE = 4, 8


@pytest.fixture
def form(tmp_path):
    return Form(ImageSettings(size=SIZE, channels=3, cache=str(tmp_path / "cache")))


def release(form, **given):
    return RELEASES.choose(given, "release").build(form)


def pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def in_order(images):
    """As a set of images: the order of samples is drawn."""
    return sorted(image.tobytes() for image in images)


def test_a_folder_an_array_and_a_table_of_the_same_samples_are_one_release(form, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = pixels(7)
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "folder" / f"{number}.png")
    np.save(tmp_path / "a.npy", images.transpose(0, 3, 1, 2))
    np.savez(tmp_path / "a.npz", x=images)
    data = [(tmp_path / "folder" / f"{number}.png").read_bytes() for number in range(7)]
    cells = [{"bytes": one, "path": None} for one in data]
    pq.write_table(pa.table({"image": data, "label": [0] * 7}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": cells}), tmp_path / "b.parquet")
    names = ("folder", "a.npy", "a.npz", "a.parquet", "b.parquet")
    found = [release(form, name="samples", root=str(tmp_path / name)) for name in names]
    assert len({one.digest for one in found}) == 1 and {one.count for one in found} == {7}
    model = found[0].model()
    first = model.samples(5)
    assert torch.equal(first, model.samples(7)[:5]) and model.offers == {"samples"}
    back = ((model.samples(7) + 1) * 127.5).round().to(torch.uint8).numpy()
    assert in_order(back) == in_order(images.transpose(0, 3, 1, 2))
    shown = [(tmp_path / "folder" / file).read_bytes() for file in found[0].files]
    assert len(set(shown)) == 7
    with pytest.raises(Refused, match="8 samples are asked for, and there are 7"):
        model.samples(8)


def test_samples_are_brought_to_the_records_form(form, tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (3, 20, 30), dtype=np.uint8)
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(large):
        Image.fromarray(image).save(tmp_path / "folder" / f"{number}.png")
    np.save(tmp_path / "a.npy", large)
    by_file, by_array = (release(form, name="samples", root=str(tmp_path / name)) for name in ("folder", "a.npy"))
    assert by_file.digest == by_array.digest and by_file.model().record_shape == (3, SIZE, SIZE)
    lossy = Form(form.settings, quality=90)
    assert release(lossy, name="samples", root=str(tmp_path / "a.npy")).digest != by_file.digest


@pytest.mark.parametrize(
    ("values", "declared", "expected"),
    [
        ([-1.0, 0.0, 1.0], "auto", [0, 128, 255]),
        ([0.0, 0.5, 1.0], "auto", [0, 128, 255]),
        ([0.0, 0.5, 1.0], "-1,1", [128, 191, 255]),
        ([0.0, 51.0, 255.0], "0,255", [0, 51, 255]),
    ],
)
def test_floats_become_gray_levels_by_their_range(values, declared, expected):
    images = np.array(values, np.float32).reshape(3, 1, 1, 1)
    assert as_pixels(images, declared, "x")[0].ravel().tolist() == expected


@pytest.mark.parametrize(
    ("images", "declared", "words"),
    [
        (np.full((2, 1, 4, 4), 3.0), "auto", r"values from 3 to 3, outside of \[0, 1\]"),
        (np.full((2, 1, 4, 4), np.nan), "auto", "no numbers"),
        (np.zeros((2, 5, 4, 6), np.uint8), "auto", "has the shape"),
        (np.zeros((2, 4, 4, 4), np.uint8), "auto", "and C is 1 or 3"),
        (np.full((2, 1, 4, 4), 65535, np.uint16), "auto", "uint16 with values to 65535; bring them to 8 bits"),
        (np.full((2, 1, 4, 4), 256, np.int64), "0,255", "int64 with values to 256"),
        (np.eye(4, dtype=np.uint8)[None], "auto", "values from 0 to 1, which of 0 to 255 are black"),
        (np.eye(4)[None], "0,255", "values from 0 to 1, which of 0 to 255 are black"),
        (np.zeros((2, 4), np.uint8), "auto", "has the shape"),
        (np.zeros((2, 1, 4, 4), np.int64), "auto", "has int64"),
    ],
)
def test_arrays_that_are_no_images_are_refused(images, declared, words):
    with pytest.raises(Refused, match=words):
        as_pixels(images, declared, "x")


def test_pickles_are_never_loaded(form, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    np.save(tmp_path / "evil.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "evil.npz", x=np.array([Evil()], dtype=object))
    for name in ("evil.npy", "evil.npz"):
        with pytest.raises(Refused, match="no pickles are read"):
            release(form, name="samples", root=str(tmp_path / name))
    assert not (tmp_path / "written").exists()


def test_files_of_samples_that_cannot_be_read_are_refused(form, tmp_path):
    np.savez(tmp_path / "two.npz", x=pixels(2), y=pixels(2))
    with pytest.raises(Refused, match=r"has 2 arrays \(x, y\); name one by release.key"):
        release(form, name="samples", root=str(tmp_path / "two.npz"))
    assert release(form, name="samples", root=str(tmp_path / "two.npz"), key="y").count == 2
    np.save(tmp_path / "cut.npy", pixels(2))
    data = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(data[:-5])
    (tmp_path / "words.txt").write_text("x")
    with zipfile.ZipFile(tmp_path / "none.npz", "w") as archive:
        archive.writestr("readme", "x")
    for name, words in {"cut.npy": "cut off", "none.npz": "has 0 arrays", "words.txt": "is no folder"}.items():
        with pytest.raises(Refused, match=words):
            release(form, name="samples", root=str(tmp_path / name))


def test_an_array_that_claims_more_than_memory_is_refused_before_it_is_read(form, tmp_path):
    with (tmp_path / "vast.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 3, 1024, 1024)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(Refused, match="GB of memory"):
        release(form, name="samples", root=str(tmp_path / "vast.npy"))


def graph(tmp_path, change=lambda model: None, latent=LATENT, size=SIZE, name="g.onnx", batch="B"):
    """images = tanh(z W), as an ONNX file."""
    weights = np.random.default_rng(0).normal(size=(latent, 3 * size * size)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["z", "W"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("Reshape", ["t", "s"], ["x"]),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch, latent])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, size, size])],
        [numpy_helper.from_array(weights, "W"), numpy_helper.from_array(np.array([-1, 3, size, size]), "s")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    change(model)
    (tmp_path / name).write_bytes(model.SerializeToString())
    return str(tmp_path / name), weights


def test_an_onnx_generator_draws_what_its_formula_says_from_latents_that_attacks_may_choose(form, tmp_path):
    root, weights = graph(tmp_path)
    found = release(form, name="onnx", root=root, latent=f"normal:{LATENT}")
    model = pickle.loads(pickle.dumps(found)).model()
    assert found.offers == {"samples", "latent"} and found.count is None and model.latent_dimension == LATENT
    z = model.latents(300)
    expected = torch.tanh(z @ torch.from_numpy(weights)).reshape(-1, 3, SIZE, SIZE)
    assert torch.allclose(model.samples(300), expected, atol=1e-5)
    assert torch.equal(model.generate(z), model.samples(300)) and torch.equal(model.samples(300)[:9], model.samples(9))


def test_uniform_latents_are_mapped_from_normal_ones_and_ranges_to_ours(form, tmp_path):
    def squash(model):
        model.graph.node[1].op_type = "Sigmoid"

    root, weights = graph(tmp_path, squash)
    model = release(form, name="onnx", root=root, latent=f"uniform:{LATENT}", range="0,1").model()
    uniform = 2 * torch.special.ndtr(model.latents(5).double()).float() - 1
    expected = 2 * torch.sigmoid(uniform @ torch.from_numpy(weights)).reshape(-1, 3, SIZE, SIZE) - 1
    assert torch.allclose(model.samples(5), expected, atol=1e-5)
    with pytest.raises(Refused, match="values from -"):
        release(form, name="onnx", root=graph(tmp_path)[0], latent=f"normal:{LATENT}", range="0,1")


def _foreign(model):
    model.graph.node[1].domain = "evil"


def _function(model):
    made = helper.make_function("own", "f", ["a"], ["b"], [helper.make_node("Tanh", ["a"], ["b"])], [])
    model.functions.append(made)


def _external(model):
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def _external_in_a_constant(model):
    node = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(3, np.float32)))
    node.attribute[0].t.data_location = TensorProto.EXTERNAL
    model.graph.node.append(node)


def _external_in_a_sparse_constant(model):
    values = numpy_helper.from_array(np.ones(3, np.float32))
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.arange(3)), [3])
    node = helper.make_node("Constant", [], ["c"], sparse_value=sparse)
    node.attribute[0].sparse_tensor.values.data_location = TensorProto.EXTERNAL
    model.graph.node.append(node)


def _foreign_inside(model):
    inner = helper.make_graph([helper.make_node("Boom", [], ["y"], domain="evil")], "i", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["q"], then_branch=inner, else_branch=inner))


def _random(model):
    noise = helper.make_node("RandomNormalLike", ["h"], ["n"])
    model.graph.node.insert(1, noise)
    model.graph.node[2].input[0] = "n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_foreign, "has the operator evil.Tanh"),
        (_foreign_inside, "has the operator evil.Boom"),
        (_function, "functions of its own"),
        (_external, "weights in other files"),
        (_external_in_a_constant, "weights in other files"),
        (_external_in_a_sparse_constant, "weights in other files"),
        (_random, "other images for the same latents"),
    ],
)
def test_onnx_models_that_do_more_than_generate_are_refused(form, tmp_path, change, words):
    root, _ = graph(tmp_path, change)
    with pytest.raises(Refused, match=words):
        release(form, name="onnx", root=root, latent=f"normal:{LATENT}")


def test_onnx_models_of_other_shapes_are_refused_with_the_way_out(form, tmp_path):
    root, _ = graph(tmp_path)
    with pytest.raises(Refused, match=r"takes 4 latents, and release.latent is normal:5"):
        release(form, name="onnx", root=root, latent="normal:5")
    root, _ = graph(tmp_path, size=16)
    with pytest.raises(Refused, match=r"3 x 16 x 16, and the records are read as 3 x 8 x 8; set data.size=16"):
        release(form, name="onnx", root=root, latent=f"normal:{LATENT}")
    root, _ = graph(tmp_path, batch=2)
    with pytest.raises(Refused, match="with any B, is needed: export it so"):
        release(form, name="onnx", root=root, latent=f"normal:{LATENT}")
    with pytest.raises(Refused, match=r"release.latent: normal:Z or uniform:Z is needed"):
        release(form, name="onnx", root=root, latent="normal")


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_natural_shape_of_a_generator_is_square_with_channels_first(tmp_path, channels_last):
    shape = [-1, SIZE, SIZE, 3] if channels_last else [-1, 3, SIZE, SIZE]

    def shaped(model):
        model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array(shape), "s"))
        for place, size in enumerate(shape[1:], 1):
            model.graph.output[0].type.tensor_type.shape.dim[place].dim_value = size

    root, _ = graph(tmp_path, shaped)
    choice = RELEASES.choose({"name": "onnx", "root": root, "latent": f"normal:{LATENT}"})
    if channels_last:
        with pytest.raises(Refused, match=r"images \[C, H, W\] of 8 x 8 x 3; square ones of 1 or 3 channels, channels"):
            choice.cls.natural_shape(choice.config)
    else:
        assert choice.cls.natural_shape(choice.config) == (3, SIZE, SIZE)


def test_a_generator_whose_range_is_not_said_is_not_guessed_to_be_pale_or_black(form, tmp_path):
    """Images in [0, 1] read as [-1, 1] would be half as far apart as they are, and attacks find less."""
    given = {"name": "onnx", "latent": f"normal:{LATENT}"}
    dark, _ = graph(tmp_path, lambda model: setattr(model.graph.node[1], "op_type", "Sigmoid"), name="sigmoid.onnx")
    with pytest.raises(Refused, match=r"is below -0.1, .*say which by release.range, one of -1,1 and 0,1 and 0,255"):
        release(form, **given, root=dark)
    with pytest.raises(Refused, match="is above 1, which in 0,255 is black"):
        release(form, **given, root=dark, range="0,255")
    found = {word: release(form, **given, root=dark, range=word).model().samples(9) for word in ("0,1", "-1,1")}
    assert torch.allclose(found["0,1"], 2 * found["-1,1"] - 1, atol=1e-6)
    root, _ = graph(tmp_path)
    said, not_said = release(form, **given, root=root, range="-1,1"), release(form, **given, root=root)
    assert said.depends == not_said.depends == {"latent": "normal:4", "range": "-1,1"}
    with pytest.raises(Refused, match=r"release.range is 0,1; it is one of -1,1 and 0,1 and 0,255"):
        release(form, **given, root=root, range="0,1")


def test_files_of_pytorch_are_refused_with_how_a_network_is_given(form, tmp_path):
    file = str(tmp_path / "generator.pt")
    torch.save({"weight": torch.zeros(3)}, file)
    with pytest.raises(Refused, match=r"is given as an ONNX file or by a function \(docs/release.md says how\)"):
        release(form, name="samples", root=file)
    with pytest.raises(Refused, match=r"is given as an ONNX file or by a function \(docs/release.md says how\)"):
        release(form, name="weights", root=file, target="dcgan")
    with pytest.raises(Refused, match=r"no ONNX model, as torch.onnx.export writes one"):
        release(form, name="onnx", root=file, latent=f"normal:{LATENT}")


def _batches_of_two(model):
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array([2, 3, SIZE, SIZE]), "s"))


def _another_size(model):
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array([-1, 3, SIZE, 7]), "s"))


def _flat(model):
    model.graph.node.pop()
    model.graph.node[1].output[0] = "x"
    model.graph.output[0].type.tensor_type.shape.dim.pop()
    model.graph.output[0].type.tensor_type.shape.dim.pop()


def _unknown(model):
    model.graph.node[1].op_type = "Tanhh"


def _logarithm(model):
    model.graph.node[1].op_type = "Log"


def _nothing(model):
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((LATENT, 0), np.float32), "W"))
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array([-1, 3, 0, 0]), "s"))


def _of_integers(model):
    model.graph.node.append(helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("i", TensorProto.INT64, ["B", 3, SIZE, SIZE]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_batches_of_two, r"does not take inputs of \[63, 4\]: "),
        (_another_size, r"does not take inputs of \[2, 4\]: "),
        (_flat, r"gives \[2, 192\] for 2 latents; \[B, C, H, W\] is needed"),
        (_unknown, "onnxruntime does not take the generator: .*Tanhh"),
        (_logarithm, "gives no finite numbers"),
        (_nothing, "onnxruntime does not take the generator: "),
        (_of_integers, r"has the outputs i tensor\(int64\); one of float32 images is needed"),
    ],
)
def test_onnx_models_that_fail_are_refused_in_one_line(form, tmp_path, change, words):
    root, _ = graph(tmp_path, change)
    with pytest.raises(Refused, match=f"^release: .*({words})") as found:
        release(form, name="onnx", root=root, latent=f"normal:{LATENT}")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_part_of_an_onnx_file_and_other_bytes_are_refused(form, tmp_path, kept):
    root, _ = graph(tmp_path)
    (tmp_path / "cut.onnx").write_bytes(Path(root).read_bytes()[:kept])
    (tmp_path / "none.onnx").write_bytes(b"no model")
    for name in ("cut.onnx", "none.onnx"):
        with pytest.raises(Refused, match=r"^release: no ONNX model"):
            release(form, name="onnx", root=str(tmp_path / name), latent=f"normal:{LATENT}")


def test_weights_of_a_target_offer_all_that_the_target_offers(form, tmp_path):
    choice = TARGETS.choose({"name": "dcgan", "width": 4, "latent": 6})
    target = choice.build(form.image_shape)
    target.initialize(Streams("x"))
    save_file({name: tensor.contiguous() for name, tensor in target.state_dict().items()}, tmp_path / "w.safetensors")
    given = {"name": "weights", "root": str(tmp_path / "w.safetensors")}
    found = release(form, **given, target={"name": "dcgan", "width": 4, "latent": 6})
    model = pickle.loads(pickle.dumps(found)).model()
    assert found.offers == target.offers and "discriminate" in found.offers
    z = model.latents(3)
    with torch.no_grad():
        assert torch.allclose(model.generate(z), target.eval().generate(z), atol=1e-6)
    with pytest.raises(Refused, match="no weights of dcgan with these settings"):
        release(form, **given, target={"name": "dcgan", "width": 8, "latent": 6})
    (tmp_path / "w.safetensors").write_bytes(b"not safe")
    with pytest.raises(Refused, match="no weights of dcgan"):
        release(form, **given, target={"name": "dcgan", "width": 4, "latent": 6})


def test_weights_of_a_diffusion_model_are_attacked_by_their_average(form, tmp_path):
    spec = {"name": "ddpm", "width": 4, "multipliers": [1, 1], "timesteps": 30, "sampling_steps": 3}
    target = TARGETS.choose(spec).build(form.image_shape)
    target.initialize(Streams("x"))
    with torch.no_grad():
        target.ema.tail[-1].bias += 1
    every = {name: tensor.contiguous() for name, tensor in target.state_dict().items()}
    given = {"name": "weights", "root": str(tmp_path / "w.safetensors"), "target": spec}
    save_file(every, tmp_path / "w.safetensors")
    with pytest.raises(Refused, match="has the weights of `denoiser` beside `ema`, their average, which alone is"):
        release(form, **given)
    average = {name: tensor for name, tensor in every.items() if name.startswith("ema.")}
    save_file(dict(list(average.items())[1:]), tmp_path / "w.safetensors")
    with pytest.raises(Refused, match="no weights of ddpm with these settings"):
        release(form, **given)
    save_file(average, tmp_path / "w.safetensors")
    model = release(form, **given).model()
    assert model.timesteps == 30
    assert model.offers == {"samples", "latent", "denoise", "variation", "gradients"}
    x = torch.zeros(2, *form.image_shape)
    assert torch.equal(model.denoise(x, torch.tensor([0, 29])), torch.ones_like(x))
    assert model.gradients(x, Streams(1)).shape == (2, len(model.gradient_names))


def test_a_function_is_asked_in_chunks_and_must_repeat_itself(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "their_sampler.py").write_text(
        "import itertools\nimport numpy as np\ncalls = itertools.count()\n"
        "def draw(count, seed):\n    return np.random.default_rng(seed).random((count, 8, 8, 3))\n"
        "def changing(count, seed):\n    return np.full((count, 8, 8), next(calls) % 7 / 7)\n"
        "def few(count, seed):\n    return np.zeros((3, 8, 8))\n"
        "def tensor(count, seed):\n    import torch\n"
        "    return torch.from_numpy(draw(count, seed)).requires_grad_()\n"
    )
    found = release(form, name="callable", function="their_sampler:draw")
    model = pickle.loads(pickle.dumps(found)).model()
    assert found.runs_code and torch.equal(model.samples(300)[:10], model.samples(10))
    assert len(torch.unique(model.samples(300).flatten(1), dim=0)) == 300
    of_network = release(form, name="callable", function="their_sampler:tensor").model().samples(9)
    assert of_network.shape == (9, *form.image_shape) and not of_network.requires_grad
    for word, words in {"changing": "other images", "few": "gave 3 images", "nothing": "has no function"}.items():
        with pytest.raises(Refused, match=words):
            release(form, name="callable", function=f"their_sampler:{word}")
    with pytest.raises(Refused, match=r"is no package.module:function"):
        release(form, name="callable", function="os.system")


def test_a_stated_guarantee_is_whole_or_not_there():
    given = {"name": "samples", "root": "x"}
    assert RELEASES.choose({**given, "epsilon": 2.0, "delta": 1e-5, "epsilon_unit": "person"}).config.epsilon == 2
    with pytest.raises(Refused, match="epsilon is no guarantee"):
        RELEASES.choose({**given, "epsilon": 2.0}, "release")
