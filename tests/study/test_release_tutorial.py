"""The tutorial of docs/release.md, run as it stands: folders of which the truth is known end as it says."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mia_core.data.images import ImageSettings
from mia_core.releases import RELEASES, Form
from tests.commands import run_here

ROOT = Path(__file__).resolve().parents[2]


def blocks(section):
    """Kind and text of each code block of a section of docs/release.md."""
    text = (ROOT / "docs" / "release.md").read_text()
    (found,) = re.findall(rf"^## {section}\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    return re.findall(r"^```(\w*)\n(.*?)^```", found, re.DOTALL | re.MULTILINE)


def test_the_function_for_a_network_of_ones_own_draws_from_torchscript(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.Tanh(), torch.nn.Unflatten(1, (1, 8, 8)))
    torch.jit.script(network).save("generator.ts")
    (code,) = [text for kind, text in blocks("What can be given") if kind == "python" and "torch.jit" in text]
    (tmp_path / "sampler.py").write_text(code)
    given = RELEASES.choose({"name": "callable", "function": "sampler:draw"}, "release")
    made = given.build(Form(ImageSettings(size=8, channels=1, cache=str(tmp_path))))
    assert made.model().samples(300).shape == (300, 1, 8, 8) and made.offers == {"samples"}


@pytest.mark.slow
def test_the_tutorial_ends_as_it_says(tmp_path):
    folder, ended = tmp_path, []
    for kind, text in blocks("Tutorial"):
        if kind == "yaml":
            (folder / "limits.yaml").write_text(text)
            continue
        for line in text.splitlines():
            first, *words = shlex.split(line)
            if first == "python":
                subprocess.run([sys.executable, ROOT / words[0], *words[1:]], cwd=folder, check=True)
            elif first == "cd":
                folder /= words[0]
            else:
                assert first == "mia-study"
                ended.append(run_here(words[0], folder, *words[1:]))
    written, copying, fair = ended
    assert written.returncode == 0
    assert copying.returncode == 1 and copying.stdout.count("A limit is exceeded.") == 1
    assert fair.returncode == 0 and fair.stdout.count("No limit is exceeded by the attacks tried.") == 1
    answers = [json.loads((folder / f"answer_{name}" / "release.json").read_text()) for name in ("copying", "fair")]
    assert [answer["decision"] for answer in answers] == ["exceeded", "not_exceeded"]
    decided = {limit["name"]: limit["decision"] for limit in answers[0]["limits"]}
    assert decided["copies"] == "exceeded"
    assert all((folder / f"answer_{name}" / "release.html").exists() for name in ("copying", "fair"))
