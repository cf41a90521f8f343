import time

import pytest

from tests.faults.faulty import Sweep


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The folder of a sweep that nothing happened to, on one worker at a time."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with Sweep(folder, "--set", "compute.concurrent=1") as sweep:
        sweep.end(0)
    return folder


@pytest.fixture
def record(request, capsys):
    """Print a soak's figures, with how long it took."""
    started = time.monotonic()

    def say(**figures):
        words = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items())
        with capsys.disabled():
            print(f"\n{request.node.name}: {words}, {time.monotonic() - started:.0f} s")

    return say
