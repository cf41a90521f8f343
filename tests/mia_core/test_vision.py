from mia_core.vision import torchvision


def test_torchvision_loads_beside_any_torch():
    assert torchvision.datasets.FashionMNIST
    assert torchvision.transforms.functional.resize
