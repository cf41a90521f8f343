"""Who may read and reach what a sweep makes: its owner alone, but for a public copy."""

import json
import stat
from ipaddress import ip_address

import pytest

from tests.left_behind.conftest import HOSTILE
from tests.left_behind.planted import ENVIRONMENT

pytestmark = [pytest.mark.timeout(3600), pytest.mark.long]


def modes(folder):
    """By path, of all below a folder and of itself."""
    return {str(path): stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}


def seen(left, file="seen.json"):
    return json.loads((left.watched / file).read_text())


@pytest.mark.parametrize("what", ["results", "figures", "mlflow.db", ".mlflow.db.lock", "mlartifacts"])
def test_only_the_owner_may_read_what_is_in_the_working_folder(left, what):
    found = modes(left.work / what)
    assert {path: oct(mode) for path, mode in found.items() if mode & 0o077} == {}


def test_nothing_else_lies_in_the_working_folder(left):
    named = {"study.yaml", "results", "figures", "mlflow.db", ".mlflow.db.lock", "mlartifacts", "public"}
    named |= {"matplotlibrc", *(f"{name}.py" for name in HOSTILE)}
    assert {path.name for path in left.work.iterdir()} == named


def test_no_process_of_any_command_imports_a_module_of_the_working_folder(left):
    assert [(path.name, path.read_text()) for path in left.watched.glob("imported-*")] == []


def test_a_public_copy_may_be_read_by_others_as_the_umask_says(left):
    found = modes(left.work / "public")
    assert {oct(mode) for mode in found.values()} == {"0o755", "0o644"}


def test_ray_leaves_no_folder_and_no_token(left):
    assert list(left.temporary.iterdir()) == []
    assert not (left.home / ".ray").exists()


def test_no_process_of_a_sweep_listens_but_on_loopback(left):
    sockets = [*seen(left)["sockets"], *seen(left, "worker.json")["sockets"]]
    named = {name for name, _ in sockets}
    assert {"gcs_server", "raylet", "ray::RuntimeEnvAgent"} <= named
    assert any(name.startswith("ray::ImplicitFunc") for name in named)
    addresses = [(name, ip_address(address)) for name, address in sockets]
    assert [
        (name, address)
        for name, address in addresses
        if not (getattr(address, "ipv4_mapped", 0) or address).is_loopback
    ] == []


def test_ray_answers_none_but_who_has_its_token(left):
    found = seen(left)
    assert found["token"] not in (None, "", ENVIRONMENT["RAY_AUTH_TOKEN"])
    assert found["friend"] == 0
    assert found["stranger"] != 0
    assert found["another's token"] != 0


def test_only_the_owner_enters_the_folder_of_a_running_ray(left):
    found = seen(left)
    assert oct(found["modes above"][-1]) == "0o700"
    assert oct(found["mode of the token"]) == "0o600"


def test_what_libraries_write_in_a_worker_is_for_the_owner_alone(left):
    assert oct(seen(left, "worker.json")["umask"]) == "0o77"
