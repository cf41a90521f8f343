"""Ray ends a driver whose raylet was killed without a word; ours comes before. Sweeps: tests/faults/test_killed.py."""

import subprocess
import time

import ray

from study.run.raylet import DIED, raylet, warned_when_it_dies
from tests.small import start_ray


def wait_for(true):
    until = time.monotonic() + 60
    while not (value := true()) and time.monotonic() < until:
        time.sleep(0.01)
    return value


def test_the_end_of_the_process_is_said_at_once_and_once(capsys):
    with subprocess.Popen(["sleep", "600"]) as process:
        said = []
        with warned_when_it_dies(process.pid):
            process.kill()
            assert wait_for(lambda: said.append(capsys.readouterr().err) or "".join(said))
        said.append(capsys.readouterr().err)
    assert "".join(said) == f"{DIED}\n"
    assert "the same command goes on" in DIED


def test_nothing_is_said_of_a_process_that_lives_nor_where_there_is_none(capsys):
    with subprocess.Popen(["sleep", "600"]) as process:
        with warned_when_it_dies(process.pid), warned_when_it_dies(None):
            pass
        process.kill()
    with warned_when_it_dies(process.pid):  # is no more
        pass
    assert capsys.readouterr().err == ""


def test_the_process_is_that_of_the_ray_that_was_started():
    start_ray()
    with open(f"/proc/{raylet()}/comm") as file:  # noqa: PTH123
        assert file.read() == "raylet\n"
    assert ray.is_initialized()
