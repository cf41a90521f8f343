import subprocess
import sys

from mia_core.vision import torchvision


def test_torchvision_loads_beside_any_torch():
    assert torchvision.datasets.FashionMNIST
    assert torchvision.transforms.functional.resize


def test_epsilon_works_as_the_first_thing_a_process_does():
    # Opacus may reach torchvision before anything here has.
    program = "from mia_core.defenses.accounting import epsilon; assert epsilon(((1.0, 1.0, 10),), 1e-5) > 0"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
