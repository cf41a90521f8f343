"""A diffusion model that somebody has, from plain PyTorch through ONNX to an answer; and its command line."""

import json

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn.functional import silu

from mia_core.attacks import ATTACKS, Knowledge, attacks_on
from mia_core.data import load_pool
from mia_core.data.images import ImageSettings
from mia_core.diffusion import linear
from mia_core.errors import Refused
from mia_core.models import Snapshot
from mia_core.releases import RELEASES, Form
from mia_core.releases.denoiser_network import DenoiserNetwork
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from study.design.study_design import Design
from study.plan.overview import _given
from study.spec.study_file import parse
from tests.commands import run_here
from tests.mia_core.denoiser_graphs import kernel_graph
from tests.study.given_release import smooth, write
from tests.study.test_release_command import FOLDERS, POLICY, asked, refused

RECORDS, SIZE, TIMESTEPS = 60, 8, 100
DECLARED = ("--prediction", "epsilon", "--schedule", "linear", "--betas", "0.001,0.2", "--timesteps", str(TIMESTEPS))
TRIED = "[{name: diffusion_loss, time: 10}, {name: sima, time: 10}]"


EXPORTING = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore:Constant folding"
)


class UNet(nn.Module):
    """Two scales, one skip connection, and a bottleneck that sees all of the image."""

    def __init__(self, width=16):
        super().__init__()
        self.time = nn.Embedding(TIMESTEPS, width)
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        flat = 2 * width * (SIZE // 2) ** 2
        hidden = [nn.Flatten(), nn.Linear(flat, 128), nn.SiLU(), nn.Linear(128, flat)]
        self.middle = nn.Sequential(*hidden, nn.Unflatten(1, (2 * width, SIZE // 2, SIZE // 2)))
        self.up = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.norm = nn.GroupNorm(4, width)
        self.last = nn.Conv2d(2 * width, 3, 3, padding=1)

    def forward(self, x, t):
        wide = silu(self.first(x) + self.time(t)[:, :, None, None])
        small = silu(self.down(wide))
        return self.last(torch.cat([wide, silu(self.norm(self.up(small + self.middle(small))))], 1))


def export(network, path):
    """As docs/release.md says."""
    names, free = ["x", "t"], {0: "batch"}
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, SIZE, SIZE), torch.zeros(2, dtype=torch.int64)),
        str(path),
        input_names=names,
        output_names=["out"],
        dynamic_axes=dict.fromkeys([*names, "out"], free),
        dynamo=False,
    )


def trained(images, steps=400, rate=5e-3):
    """A denoiser that has seen each of these uint8 images [N,H,W,3] some 400 times."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    level = linear(TIMESTEPS).float()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet()
        optimizer = torch.optim.Adam(network.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
        for _ in range(steps):
            rows, times = torch.randint(len(x), (64,)), torch.randint(TIMESTEPS, (64,))
            eps, abar = torch.randn(64, *x.shape[1:]), level[times][:, None, None, None]
            loss = (network(abar.sqrt() * x[rows] + (1 - abar).sqrt() * eps, times) - eps).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def made(folder, seed=5):
    """Folders of members and of others, and further images like them."""
    images = smooth(np.random.default_rng(seed), 3 * RECORDS)
    write(folder / "members", images[:RECORDS])
    write(folder / "others", images[RECORDS : 2 * RECORDS])
    (folder / "limits.yaml").write_text(POLICY)
    return images[:RECORDS], images[2 * RECORDS :]


def answered(folder, file, *words):
    given = ("--denoiser", file, *DECLARED, "--members", "members", "--non-members", "others", "--holdout", "random")
    sets = (f"attacks={TRIED}", "controls.permutations=99", f"data.cache={folder / 'cache'}")
    settings = [word for one in sets for word in ("--set", one)]
    out = f"answer_{file}"
    found = run_here("release", folder, *given, "--policy", "limits.yaml", "--out", out, *settings, *words)
    assert (folder / out / "release.json").exists(), found.stdout + found.stderr
    return found, json.loads((folder / out / "release.json").read_text())


@pytest.mark.long
@EXPORTING
def test_a_network_that_memorized_its_records_exceeds_a_limit_and_one_of_others_does_not(tmp_path):
    members, others = made(tmp_path)
    export(trained(members), tmp_path / "own.onnx")
    export(trained(others), tmp_path / "foreign.onnx")
    found, answer = answered(tmp_path, "own.onnx")
    assert found.returncode == 1 and answer["decision"] == "exceeded", found.stdout
    rows = {row["attack"]: row for row in answer["attacks"]}
    assert rows["diffusion_loss"]["auc"] > 0.9
    page = (tmp_path / "answer_own.onnx" / "release.html").read_text()
    assert "an ONNX denoiser" in page and "denoise" in page
    found, answer = answered(tmp_path, "foreign.onnx")
    assert answer["decision"] != "exceeded", found.stdout
    rows = {row["attack"]: row for row in answer["attacks"]}
    assert all(0.35 < row["auc"] < 0.65 for row in rows.values())


@EXPORTING
def test_an_exported_network_gives_what_it_gave_in_torch(tmp_path):
    network = UNet(8).eval()
    export(network, tmp_path / "d.onnx")
    loaded = DenoiserNetwork(str(tmp_path / "d.onnx"), linear(TIMESTEPS))
    shape = (3, SIZE, SIZE)
    assert loaded.natural_shape == shape
    loaded.require_sound(shape)
    x, t = torch.randn(70, *shape), torch.arange(70)
    with torch.no_grad():
        torch.testing.assert_close(loaded.predict(x, t), network(x, t), atol=1e-5, rtol=1e-4)


def graph(folder, side=SIZE, **settings):
    members = smooth(np.random.default_rng(0), 20).transpose(0, 3, 1, 2) / 127.5 - 1
    return kernel_graph(folder / "d.onnx", members[:, :, :side, :side], linear(1000), **settings)


def test_a_command_line_of_a_denoiser_is_a_study_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    graph(tmp_path)
    np.save("abar.npy", linear(1000).numpy())
    words = ("--denoiser", "d.onnx", "--prediction", "epsilon", "--timesteps", "1000", *FOLDERS)
    document = asked(*words, "--schedule", "linear", "--betas", "1e-4,.02", "--samples", "s.npz", "--key", "x")
    assert document["release"] == {
        "name": "denoiser",
        "root": str(tmp_path / "d.onnx"),
        "prediction": "epsilon",
        "schedule": "linear",
        "betas": [1e-4, 0.02],
        "timesteps": 1000,
        "samples": {"root": str(tmp_path / "s.npz"), "key": "x"},
    }
    assert document["data"] == {"size": SIZE, "channels": 3}
    listed = asked(*words, "--schedule", "abar.npy", "--range", "0,1")["release"]
    assert listed["schedule"] == linear(1000).tolist() and listed["range"] == "0,1"
    printed = yaml.safe_load(
        yaml.safe_dump({"study": "x", "release": listed, "split": {"members": "a", "non_members": "b"}})
    )
    assert parse(printed).release.config.alpha_bar.equal(linear(1000))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--prediction: --denoiser needs it"),
        (("--prediction", "v"), "--schedule: --denoiser needs it"),
        (("--prediction", "v", "--schedule", "linear"), "--timesteps: --denoiser needs it"),
        ((*DECLARED, "--latent", "normal:3"), "--latent: says nothing of --denoiser"),
        ((*DECLARED, "--key", "x"), "--key: says nothing of --denoiser without --samples"),
        ((*DECLARED, "--onnx", "g"), "--samples, --onnx, --denoiser, --weights or --callable: name what is released"),
        ((*DECLARED, "--betas", "0.1"), "--betas: 0.1 is not two numbers, such as 0.0001,0.02"),
        ((*DECLARED, "--schedule", "two.npy"), r"--schedule: two.npy has the shape \[2, 2\]; \[T\] is needed"),
        ((*DECLARED, "--schedule", "none.npy"), "none.npy cannot be read"),
    ],
)
def test_a_command_line_of_a_denoiser_that_does_not_fit_is_refused(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    np.save("two.npy", np.ones((2, 2)))
    with pytest.raises(Refused, match=message):
        asked("--denoiser", "d.onnx", *words, *FOLDERS)
    with pytest.raises(Refused, match="--prediction: says nothing of --samples"):
        asked("--samples", "s", "--prediction", "v", *FOLDERS)


def test_refusals_of_a_denoiser_name_flags_and_leave_nothing_behind(tmp_path):
    made(tmp_path)
    graph(tmp_path)
    (tmp_path / "few.npy").write_bytes(b"x")
    np.save(tmp_path / "abar.npy", np.linspace(0.9, 0.1, 7))
    records = ("--members", "members", "--non-members", "others")
    given = ("--denoiser", "d.onnx", "--timesteps", "1000", *records)
    epsilon, right = ("--prediction", "epsilon"), ("--schedule", "linear")
    for words, message in {
        (*given, "--prediction", "v", *right): "refused: --prediction: is v, and of noise alone",
        (*given, *epsilon, "--schedule", "sigmoid"): "refused: --schedule: is one of linear, ",
        (*given, *epsilon, "--schedule", "abar.npy"): "refused: --schedule: is a list of 7 numbers for 1000",
        (*given, *epsilon, "--schedule", "scaled_linear"): "refused: --betas: are needed",
        (*given, *epsilon, *right, "--betas", "0.1,1.5"): "refused: --betas: are between 0 and 1",
        (*given, *epsilon, *right, "--samples", "nowhere"): "refused: --samples: ",
        (*given, *epsilon, *right, "--samples", "few.npy"): "few.npy cannot be read",
        (*given, *epsilon, *right, "--samples", "members"): "--samples: ",
        (*given, *epsilon, *right, "--set", "release.sampling_steps=2000"): "--set release.sampling_steps: there are",
        (*given, *epsilon, *right, "--size", "16"): "; set --size 8 and --set data.channels=3",
    }.items():
        told = refused(tmp_path, *words)
        assert message in told, told
        assert "release." not in told.replace("--set release.", "") and "split." not in told, told
        assert not (tmp_path / "answer").exists()


def test_the_trials_of_a_release_share_the_samples_that_it_drew_and_the_plan_says_how_many(tmp_path):
    made(tmp_path)
    document = {
        "study": "x",
        "release": {
            "name": "denoiser",
            "root": graph(tmp_path),
            "prediction": "epsilon",
            "schedule": "linear",
            "timesteps": 1000,
            "sampling_steps": 2,
        },
        "data": {"cache": str(tmp_path / "cache"), "size": SIZE},
        "split": {"members": str(tmp_path / "members"), "non_members": str(tmp_path / "others")},
        "attacks": [{"name": "euclidean", "generated": [100, 700]}, {"name": "latent", "generated": 300}],
        "quality": {"samples": 200},
        "results": str(tmp_path / "results"),
        "tracking": None,
    }
    design = Design(parse(document), load_pool(parse(document).data))
    (trial,) = design.trials
    model = design.given_model(trial)
    assert design.given_model(trial) is model and model.timesteps == 1000
    assert any("700 samples are drawn by a diffusion model" in line for line in _given(design, design.released))


@pytest.mark.long
@EXPORTING
def test_attacks_score_an_exported_unet_of_ours_as_they_score_it_in_torch(tmp_path):
    """All attacks on denoisers, of a `ddpm` whose average is exported, at the same parts of its 100 timesteps."""
    images = smooth(np.random.default_rng(0), 20)
    spec = {"name": "ddpm", "width": 8, "multipliers": [1, 2], "timesteps": TIMESTEPS, "ema": 0.0}
    target = TARGETS.choose(spec).build((3, SIZE, SIZE))
    target.initialize(Streams("x"))
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    optimizer = torch.optim.Adam(target.denoiser.parameters(), lr=3e-3)
    for step in range(60):
        draws = Streams("draws").torch("step", step)
        times, eps = torch.randint(TIMESTEPS, (20,), generator=draws), torch.randn(x.shape, generator=draws)
        loss = target.record_losses({"denoiser": target.denoiser}, x, times, eps)["denoiser"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    target.ema.load_state_dict(target.denoiser.state_dict())
    export(target.ema.eval(), tmp_path / "d.onnx")
    given = {"name": "denoiser", "root": str(tmp_path / "d.onnx"), "prediction": "epsilon", "timesteps": TIMESTEPS}
    form = Form(ImageSettings(size=SIZE, channels=3))
    found = RELEASES.choose({**given, "schedule": "linear", "betas": [0.001, 0.2]}).build(form).model()
    truth = Snapshot(target, Streams("release", found._release.digest))
    torch.testing.assert_close(found.samples(9), truth.samples(9), atol=1e-3, rtol=0)
    for name in sorted({*attacks_on("denoise"), *attacks_on("variation")}):
        settings = ATTACKS.choose(name).build().of_timesteps(TIMESTEPS)
        attack = ATTACKS.choose({"name": name, **settings}).build()
        by_onnx, by_torch = (
            attack(model, x, Knowledge(), Streams("attack")).scores.values[0] for model in (found, truth)
        )
        torch.testing.assert_close(by_onnx, by_torch, rtol=5e-3, atol=float(by_torch.abs().mean()) * 5e-3, msg=name)
