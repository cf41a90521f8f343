import subprocess
import sys

from mia_core.vision import torchvision


def test_torchvision_loads_beside_any_torch():
    assert torchvision.datasets.FashionMNIST
    assert torchvision.transforms.functional.resize


def test_epsilon_and_quality_work_as_the_first_thing_a_process_does():
    # Both reach torchvision through other packages, before anything here has imported it.
    for program in (
        "from mia_core.defenses.dp_sgd import epsilon; assert epsilon(1.0, 0.1, 10, 1e-5) > 0",
        "import torch; from mia_core.metrics import frechet_distance as f; x = torch.rand(9, 2); assert f(x, x) < 1e-3",
    ):
        subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
