"""A release of a diffusion model as an ONNX denoiser: known answers, what may be declared, and what is refused."""

import pickle
import re

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from mia_core.attacks import ATTACKS, Knowledge
from mia_core.data.images import ImageSettings
from mia_core.diffusion import cosine, linear, of_betas
from mia_core.errors import Refused
from mia_core.metrics.blind import aucs
from mia_core.releases import RELEASES, Form
from mia_core.streams import Streams
from tests.mia_core.denoiser_graphs import kernel_graph
from tests.mia_core.kernel_denoiser import KernelDenoiser

SIZE, MEMBERS, OTHERS = 8, 40, 60
ON_DENOISERS = ("diffusion_loss", "secmi", "pia", "pian", "sima", "pfami", "rediffuse")
PLAIN = {"name": "denoiser", "prediction": "epsilon", "schedule": "linear", "timesteps": 1000}


@pytest.fixture
def form(tmp_path):
    return Form(ImageSettings(size=SIZE, channels=1, cache=str(tmp_path / "cache")))


def records(seed=0):
    drawn = torch.randn(MEMBERS + OTHERS, 1, SIZE, SIZE, generator=Streams(seed).torch("records"))
    return (drawn / 2).clamp(-1, 1)


def release(form, **given):
    return RELEASES.choose({**PLAIN, **given}, "release").build(form)


def of_members(path, alpha_bar=None, **settings):
    members = records()[:MEMBERS].double().numpy()
    return kernel_graph(path, members, linear(1000) if alpha_bar is None else alpha_bar, **settings)


def scores(name, model, x):
    return ATTACKS.choose(name).build()(model, x, Knowledge(), Streams(0, "attack")).scores.values[0].double().numpy()


@pytest.mark.parametrize("name", ON_DENOISERS)
def test_attacks_on_a_memorizing_denoiser_know_every_member(form, tmp_path, name):
    model = release(form, root=of_members(tmp_path / "d.onnx")).model()
    member = np.arange(MEMBERS + OTHERS) < MEMBERS
    assert aucs(scores(name, model, records())[:, None], member[:, None])[0] > 0.93


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
@pytest.mark.parametrize("word", ["-1,1", "0,1"])
@pytest.mark.parametrize("name", ["diffusion_loss", "secmi", "pia", "sima", "pfami"])
def test_scores_are_those_of_the_same_denoiser_in_torch(form, tmp_path, prediction, word, name):
    """Whatever it predicts. A network of images in [0, 1] sees the same images with twice the noise."""
    low, high = map(float, word.split(","))
    settings = {"bandwidth": 0.6, "prediction": prediction, "low": low, "high": high}
    model = release(form, root=of_members(tmp_path / "d.onnx", **settings), prediction=prediction, range=word).model()
    truth = KernelDenoiser(records()[:MEMBERS], 0.6)
    truth.alpha_bar = model.alpha_bar
    ratio = (1 - linear(1000)) / linear(1000) * (4 if word == "0,1" else 1)
    torch.testing.assert_close((1 - model.alpha_bar) / model.alpha_bar, ratio)
    found, expected = scores(name, model, records()), scores(name, truth, records())
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).mean())


@pytest.mark.parametrize("time", [("int64", ["B"]), ("int32", ["B"]), ("float", ["B"]), ("int64", []), ("float", [1])])
@pytest.mark.parametrize("variances", [False, True])
def test_times_may_be_numbers_of_either_kind_for_each_image_or_for_all(form, tmp_path, time, variances):
    found = release(form, root=of_members(tmp_path / "d.onnx", time=time, variances=variances, bandwidth=0.6))
    model = pickle.loads(pickle.dumps(found)).model()
    x, t = records()[:70], torch.arange(70) * 14
    torch.testing.assert_close(
        model.denoise(x, t), KernelDenoiser(records()[:MEMBERS], 0.6).denoise(x, t), atol=1e-4, rtol=1e-4
    )
    assert found.facts.timesteps == 1000 and found.facts.record_shape == (1, SIZE, SIZE)


def test_samples_are_drawn_by_the_sampler_in_one_fixed_sequence(form, tmp_path):
    root = of_members(tmp_path / "d.onnx")
    found = release(form, root=root)
    assert found.offers == {"samples", "latent", "denoise", "variation"} and found.count is None
    model = found.model()
    drawn = model.samples(300)
    assert torch.equal(drawn[:9], release(form, root=root).model().samples(9)) and bool((drawn.abs() <= 1).all())
    torch.testing.assert_close(model.generate(model.latents(5)), drawn[:5], atol=1e-4, rtol=0)
    nearest = torch.cdist(drawn.flatten(1), records().flatten(1)).argmin(1)
    assert (nearest < MEMBERS).all()
    random = release(form, root=root, schedule="linear", sampler="ddpm")
    assert random.offers == {"samples", "denoise", "variation"} and random.model().samples(2).shape == (
        2,
        1,
        SIZE,
        SIZE,
    )


def test_samples_beside_it_are_the_ones_that_attacks_see(form, tmp_path):
    pixels = ((records()[:20].numpy() + 1) * 127.5).round().astype(np.uint8)
    np.savez(tmp_path / "s.npz", a=pixels, b=pixels[:3])
    root = of_members(tmp_path / "d.onnx")
    found = release(form, root=root, samples={"root": str(tmp_path / "s.npz"), "key": "a"})
    assert found.count == 20 and found.offers == {"samples", "denoise", "variation"}
    back = ((found.model().samples(20) + 1) * 127.5).round().byte().numpy()
    assert sorted(one.tobytes() for one in back) == sorted(one.tobytes() for one in pixels)
    other = release(form, root=root, samples={"root": str(tmp_path / "s.npz"), "key": "b"})
    assert len({str(one.identity) for one in (found, other, release(form, root=root))}) == 3
    for given, words in (
        ({"root": str(tmp_path / "s.npz")}, r"name one by release\.samples\.key"),
        ({"root": str(tmp_path / "release.key")}, r"^release\.samples\.root: .*/release\.key is not there"),
        ({"key": "a"}, r"release\.samples\.root: required"),
        ({"root": "s", "keys": "a"}, r"release\.samples\.keys: unknown key; did you mean 'key'"),
    ):
        with pytest.raises(Refused, match=words):
            release(form, root=root, samples=given)


def test_ids_depend_on_the_file_and_on_all_that_is_declared_and_on_no_path(form, tmp_path):
    root, moved = of_members(tmp_path / "d.onnx"), of_members(tmp_path / "moved.onnx")
    own = release(form, root=root).identity
    listed = [float(value) for value in linear(1000)]
    equal = ({"root": moved}, {"range": "-1,1"}, {"betas": [1e-4, 0.02]}, {"schedule": listed})
    for given in equal:
        assert release(form, **{"root": root, **given}).identity == own, given
    other = of_members(tmp_path / "other.onnx", bandwidth=0.06)
    different = ({"root": other}, {"betas": [1e-4, 0.021]}, {"sampling_steps": 20}, {"sampler": "ddpm"})
    for given in different:
        assert release(form, **{"root": root, **given}).identity != own, given


@pytest.mark.parametrize(
    ("given", "timesteps", "expected"),
    [
        ({"schedule": "linear"}, 1000, linear(1000)),
        ({"schedule": "linear", "betas": [0.001, 0.2]}, 100, linear(100)),
        ({"schedule": "cosine"}, 50, cosine(50)),
        ({"schedule": "scaled_linear", "betas": [0.00085, 0.012]}, 1000, of_betas(0.00085, 0.012, 1000, 2)),
        ({"schedule": [0.9, 0.5, 0.1]}, 3, torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)),
    ],
)
def test_schedules_are_those_of_their_names(form, given, timesteps, expected):
    found = RELEASES.choose({**PLAIN, "root": "x", **given, "timesteps": timesteps, "sampling_steps": 2}).config
    torch.testing.assert_close(found.alpha_bar, expected)
    betas = 1 - torch.cat([expected[:1], expected[1:] / expected[:-1]])
    if given["schedule"] == "scaled_linear":
        torch.testing.assert_close(betas.sqrt().diff(), betas.sqrt().diff().mean().expand(999))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prediction": "score"}, "release.prediction: .*'epsilon', 'v' or 'x0'"),
        ({"schedule": "sigmoid"}, "release.schedule: is one of linear, scaled_linear, cosine, or a list of alpha_bar"),
        ({"schedule": [0.9, 0.5]}, "release.schedule: is a list of 2 numbers for 1000 timesteps"),
        ({"schedule": [0.1, 0.5], "timesteps": 2}, "release.schedule: 0.5 is no alpha_bar after 0.1, at time 1"),
        ({"schedule": [0.5, 0.0], "timesteps": 2}, "release.schedule: 0 is no alpha_bar after 0.5, at time 1"),
        ({"schedule": [1.0, 0.5], "timesteps": 2}, "release.schedule: 1 is no alpha_bar at first, at time 0"),
        ({"timesteps": 100}, "release.betas: are needed, the first and the last of schedule linear with 100"),
        ({"schedule": "scaled_linear"}, "release.betas: are needed"),
        (
            {"betas": [0.02, 1e-4]},
            "release.betas: are between 0 and 1, and the first is not above the last; got 0.02 and 0.0001",
        ),
        ({"betas": [0.02, 1.5]}, "release.betas: are between 0 and 1, .*; got 0.02 and 1.5"),
        ({"schedule": "cosine", "betas": [1e-4, 0.02]}, "release.betas: are those of a linear schedule"),
        ({"timesteps": 0}, "release.timesteps: .*greater than 1"),
        ({"sampling_steps": 2000}, "release.sampling_steps: there are 1000 timesteps, fewer than 2000"),
        ({"range": "0,255"}, "release.range: .*'-1,1' or '0,1'"),
    ],
)
def test_declarations_that_are_none_are_refused(given, words):
    with pytest.raises(Refused, match=f"^{words}") as found:
        RELEASES.choose({**PLAIN, "root": "x", **given}, "release")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    ("truth", "declared"), [(a, b) for a in ("epsilon", "v", "x0") for b in ("epsilon", "v", "x0")]
)
def test_a_prediction_that_is_declared_wrongly_is_refused_and_the_right_one_is_not(
    form, tmp_path, truth, declared, beside
):
    np.save(tmp_path / "s.npy", ((records()[:MEMBERS].numpy() + 1) * 127.5).round().astype(np.uint8))
    given = {"root": of_members(tmp_path / "d.onnx", prediction=truth, bandwidth=0.3), "prediction": declared}
    more = {"samples": {"root": str(tmp_path / "s.npy")}} if beside else {}
    if truth == declared:
        assert release(form, **given, **more).words.startswith("an ONNX denoiser")
    else:
        with pytest.raises(
            Refused, match=r"^release\.prediction: .*; declare what the denoiser was trained with|declare"
        ):
            release(form, **given, **more)


def test_a_range_that_is_not_said_is_not_guessed(form, tmp_path):
    root = of_members(tmp_path / "d.onnx", low=0.0)
    with pytest.raises(Refused, match=r"is below -0.1, .*say which by release.range, one of -1,1 and 0,1"):
        release(form, root=root)
    np.save(tmp_path / "s.npy", ((records()[:MEMBERS].numpy() + 1) * 127.5).round().astype(np.uint8))
    with pytest.raises(Refused, match=r"release\.range=-1,1 .* with epsilon and range 0,1 of"):
        release(form, root=root, samples={"root": str(tmp_path / "s.npy")})
    assert release(form, root=root, range="0,1").range == "0,1"


def _third_input(model):
    model.graph.input.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["B"]))


def _half(model):
    model.graph.node.append(helper.make_node("Cast", ["out"], ["half"], to=TensorProto.FLOAT16))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("half", TensorProto.FLOAT16, ["B", 1, SIZE, SIZE]))


def _two_outputs(model):
    model.graph.output.append(helper.make_tensor_value_info("eps", TensorProto.DOUBLE, None))


def _three_times_the_channels(model):
    model.graph.node[-1].CopyFrom(helper.make_node("Concat", ["found", "x", "x"], ["out"], axis=1))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3


def _short_table(model):
    (table,) = (one for one in model.graph.initializer if one.name == "ABAR")
    table.CopyFrom(numpy_helper.from_array(np.linspace(0.9, 0.1, 100), "ABAR"))


def _of_the_batch(model):
    model.graph.node[-1].CopyFrom(helper.make_node("Sub", ["found", "shift"], ["out"]))
    model.graph.node.insert(-1, helper.make_node("ReduceMean", ["found"], ["shift"], axes=[0]))


def _random(model):
    model.graph.node[-1].CopyFrom(helper.make_node("Add", ["found", "noise"], ["out"]))
    model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("RandomNormalLike", ["x"], ["noise"]))


def _infinite(model):
    model.graph.node[-1].CopyFrom(helper.make_node("Log", ["found"], ["out"]))


def _foreign(model):
    model.graph.node[-1].domain = "evil"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"change": _third_input}, r"label tensor\(int64\) \['B'\]; two are needed, .*fixed inside"),
        ({"change": _half}, r"has the outputs half tensor\(float16\); one of float32 predictions is needed"),
        ({"change": _two_outputs}, "has the outputs out .*, eps .*; one of float32 predictions"),
        (
            {"change": _three_times_the_channels},
            r"gives \[3, 3, 8, 8\] for images of \[3, 1, 8, 8\]; .*twice the channels",
        ),
        ({"change": _short_table}, "does not take inputs of .*out of data bounds"),
        ({"change": _of_the_batch}, r"depends on the others of a batch; export the network in evaluation mode"),
        ({"change": _random}, "other values for the same images"),
        ({"change": _infinite}, "gives no finite numbers"),
        ({"change": _foreign}, "has the operator evil.Identity"),
        ({"batch": 1}, r"takes 1 images at once, and any B is needed: export it so"),
        ({"time": ("int64", [2])}, r"takes 2 times, and any B is needed"),
        ({"time": ("int64", ["B", 1])}, r"has the inputs x .*, t tensor\(int64\) \['B', 1\]; two are needed"),
    ],
)
def test_networks_that_are_no_denoisers_are_refused_in_one_line(form, tmp_path, settings, words):
    with pytest.raises(Refused, match=f"^release: .*{words}") as found:
        release(form, root=of_members(tmp_path / "d.onnx", **settings))
    assert "\n" not in str(found.value)


def test_images_of_another_size_are_refused_with_the_settings_that_fit(form, tmp_path):
    members = np.zeros((2, 3, 16, 16))
    root = kernel_graph(tmp_path / "d.onnx", members, linear(1000))
    with pytest.raises(
        Refused, match=r"takes images of 3 x 16 x 16, and .* as 1 x 8 x 8; set data.size=16 and data.ch"
    ):
        release(form, root=root)
    choice = RELEASES.choose({**PLAIN, "root": root})
    assert choice.cls.natural_shape(choice.config) == (3, 16, 16)
    for name, data in {"none.onnx": b"no model", "empty.onnx": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(Refused, match=r"^release: no ONNX model"):
            release(form, root=str(tmp_path / name))
    with pytest.raises(Refused, match=re.escape("release.root: ") + ".*nowhere.onnx cannot be read"):
        release(form, root=str(tmp_path / "nowhere.onnx"))
