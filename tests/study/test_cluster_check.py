"""`mia-study cluster`: what Ray accepts silently is refused in one line, and `down` says where Ray may run on."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from study.outcomes import COMPLETE, INCOMPLETE, REFUSED
from study.run import cluster
from tests.commands import mia_study

PROJECT = Path(__file__).parents[2]
FILES = ("cluster.yaml", "configs/clusters/onprem.yaml", "configs/clusters/gcp.yaml")

OWN = {
    "0123456789abcdef0": "0a1b2c3d4e5f60718", "my-project-123456": "leak-study-7", "YOUR-PUBLIC-KEY": "AAAAC3Nz",
    "your-image": "leak-study-image",
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder with key and token, and the project where Ray would copy it from."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(PROJECT)
    for name in (".ssh/mia-study.pem", ".ray/auth_token"):
        path = tmp_path / name
        path.parent.mkdir()
        path.touch(0o600)
    return tmp_path


def filled(name):
    """A cluster file of ours with a user's own addresses and ids in place of placeholders."""
    text = (PROJECT / name).read_text(encoding="utf-8")
    for network in ("192.0.2", "203.0.113"):
        text = text.replace(f"{network}.", "10.3.4.")
    for placeholder, own in OWN.items():
        text = text.replace(placeholder, own)
    return text


def check(tmp_path, capsys, text):
    """Exit code and lines of `check` on a file with this text."""
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    code = mia_study("cluster")(["check", str(path)])
    printed = capsys.readouterr()
    assert printed.out == ""
    return code, [line.removeprefix(f"refused: {path}").removeprefix(": ") for line in printed.err.splitlines()]


@pytest.mark.parametrize("name", FILES)
def test_our_files_pass_once_their_placeholders_are_filled_in(tmp_path, capsys, name):
    assert check(tmp_path, capsys, filled(name)) == (COMPLETE, [])


@pytest.mark.parametrize("name", FILES)
def test_our_files_are_refused_for_nothing_but_their_placeholders(tmp_path, capsys, name):
    code, lines = check(tmp_path, capsys, (PROJECT / name).read_text(encoding="utf-8"))
    assert code == REFUSED
    assert lines
    for line in lines:
        assert "is a placeholder; give your own" in line


ONPREM = {
    "an unknown provider key": (
        "type: local",
        "type: local\n  worker_ip: [10.3.4.11]",
        "provider.worker_ip: Ray does not read this; did you mean worker_ips?",
    ),
    "an unknown provider": ("type: local", "type: locla", "provider.type: 'locla' is not one of local, aws, gcp"),
    "a key given twice": ("type: local", "type: local\n  type: aws", ": duplicate key 'type'"),
    "no address": ("10.3.4.11\n", "worker-one\n", "provider.worker_ips[0]: 'worker-one' is not an IP address"),
    "a number": ("10.3.4.11\n", "7\n", "provider.worker_ips[0]: 7 is not an IP address"),
    "half an address": ("head_ip: 10.3.4.10", "head_ip: 10.3.4", "provider.head_ip: '10.3.4' is not an IP address"),
    "no head": ("head_ip: 10.3.4.10", "", "provider.head_ip: None is not an IP address"),
    "no workers": ("    - 10.3.4.11\n    - 10.3.4.12\n", "", "provider.worker_ips: needs a list"),
    "a host twice": ("10.3.4.12\n", "10.3.4.11\n", "provider.worker_ips[1]: 10.3.4.11 is given twice"),
    "the head as a worker": (
        "    - 10.3.4.12\n",
        "    - 10.3.4.10\n",
        "provider.worker_ips[1]: 10.3.4.10 is given twice",
    ),
    "a public address": ("10.3.4.12\n", "8.8.8.8\n", "provider.worker_ips[1]: 8.8.8.8 is a public address"),
    "loopback": ("10.3.4.12\n", "127.0.0.1\n", "provider.worker_ips[1]: 127.0.0.1 is no address"),
    "an absent key file": ("mia-study.pem", "other.pem", "auth.ssh_private_key: ~/.ssh/other.pem does not exist"),
    "no key": ("  ssh_private_key: ~/.ssh/mia-study.pem\n", "", "auth.ssh_private_key: give a key"),
    "an absent folder": (
        "~/mia-study: .\n",
        "~/mia-study: no/such\n",
        "file_mounts.~/mia-study: no/such does not exist",
    ),
    "no token delivered": ("  ~/.ray/auth_token: ~/.ray/auth_token\n", "", "file_mounts: needs ~/.ray/auth_token"),
    "a token in the file": (
        "RAY_AUTH_MODE=token RAY_USAGE",
        "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=abc RAY_USAGE",
        "RAY_AUTH_TOKEN: a token in this file",
    ),
    "no token on workers": (
        "ulimit -n 65536; RAY_AUTH_MODE=token ",
        "",
        "worker_start_ray_commands: put RAY_AUTH_MODE=token before",
    ),
    "a dashboard for all": ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "0.0.0.0 is everybody's address"),
    "a dashboard for others": (
        "--dashboard-host=127.0.0.1",
        "--dashboard-host 10.3.4.10",
        "head_start_ray_commands: --dashboard-host=10.3.4.10 shows it",
    ),
    "no autoscaler": (
        " --autoscaling-config=~/ray_bootstrap_config.yaml",
        "",
        "head_start_ray_commands: without --autoscaling-config",
    ),
    "version 2 of the autoscaler": ("RAY_enable_autoscaler_v2=0 ", "", "put RAY_enable_autoscaler_v2=0 before"),
    "work on the head": (" --num-cpus=0", "", "needs --num-cpus=0"),
    "fewer workers than hosts": (
        "cluster_name:",
        "max_workers: 1\ncluster_name:",
        "max_workers: 1 is not the number of worker_ips, 2",
    ),
    "no start": ("ray start --address", "ray attach --address", "worker_start_ray_commands: has no `ray start`"),
    "an exclusion of the key": (
        "rsync_exclude: [.git",
        'rsync_exclude: ["*.pem", .git',
        "rsync_exclude: *.pem excludes ~/.ssh/mia-study.pem too",
    ),
    "a misspelt key": ("setup_commands:\n", "setup_comands:\n", "Additional properties are not allowed"),
    "a wrong type": (
        "file_mounts_sync_continuously: False",
        "file_mounts_sync_continuously: often",
        "file_mounts_sync_continuously: 'often' is not of type 'boolean'",
    ),
    "no YAML": ("provider:\n", "provider: [\n", "expected ',' or ']'"),
}
AWS = {
    "a zone of another region": (
        "availability_zone: us-west-2a,us-west-2b",
        "availability_zone: us-west-2a,us-wset-2b",
        "provider.availability_zone: us-wset-2b is not in us-west-2",
    ),
    "an absent key file": ("mia-study.pem", "other.pem", "auth.ssh_private_key: ~/.ssh/other.pem does not exist"),
    "a head for all": (
        "--dashboard-host=127.0.0.1",
        "--dashboard-host=10.3.4.10",
        "head_start_ray_commands: --dashboard-host=10.3.4.10 shows it",
    ),
    "an unknown key": (
        "use_internal_ips: False",
        "use_internal_ip: False",
        "provider.use_internal_ip: Ray does not read this; did you mean use_internal_ips?",
    ),
    "stopped disks": (
        "cache_stopped_nodes: False",
        "cache_stopped_nodes: True",
        "provider.cache_stopped_nodes: False, or stopped",
    ),
    "Ray's own security group": (
        "      SecurityGroupIds: [sg-0a1b2c3d4e5f60718]\n",
        "",
        "available_node_types.head.node_config: needs SecurityGroupIds",
    ),
    "Ray's own role": (
        "      IamInstanceProfile: {Name: mia-study-head}\n",
        "",
        "available_node_types.head.node_config: needs IamInstanceProfile",
    ),
    "work on the head": (
        "resources: {CPU: 0, GPU: 0}",
        "resources: {CPU: 2, GPU: 0}",
        "available_node_types.head: resources {CPU: 0, GPU: 0} keep work off",
    ),
    "another Ray": (
        "rayproject/ray:2.60.0-py311-gpu",
        "rayproject/ray:nightly-py311-gpu",
        "docker.image: rayproject/ray:nightly-py311-gpu is not this environment's Ray",
    ),
    "Ray's own start": (
        "head_start_ray_commands:\n",
        "head_start_ray_commands:\n  - ray start --head --dashboard-host=0.0.0.0\n",
        "head_start_ray_commands: put RAY_AUTH_MODE=token before",
    ),
    "SSH from everywhere": (
        "cluster_synced_files: []",
        'cluster_synced_files: ["0.0.0.0/0"]',
        "0.0.0.0 is everybody's address",
    ),
}
GCP = {
    "an unknown key": (
        "project_id: leak",
        "project: leak",
        "provider.project: Ray does not read this; did you mean project_id?",
    ),
    "stopped disks": (
        "cache_stopped_nodes: False",
        "cache_stopped_nodes: True",
        "provider.cache_stopped_nodes: False, or stopped",
    ),
    "stopped disks by default": ("  cache_stopped_nodes: False", "", "provider.cache_stopped_nodes: False, or stopped"),
    "GCP's own network": (
        "    networkInterfaces:",
        "    labels:",
        "available_node_types.head.node_config: needs networkInterfaces; GCP's network default admits SSH",
    ),
    "a zone of another region": (
        "availability_zone: us-west1-a",
        "availability_zone: us-west2-a",
        "provider.availability_zone: us-west2-a is not in us-west1",
    ),
    "work on the head": (
        "resources: {CPU: 0, GPU: 0}",
        "resources: {CPU: 2, GPU: 0}",
        "available_node_types.head: resources {CPU: 0, GPU: 0} keep work off",
    ),
    "no token": (
        "RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 ray start --head",
        "ray start --head",
        "head_start_ray_commands: put RAY_AUTH_MODE=token before",
    ),
    "an absent key file": ("mia-study.pem", "other.pem", "auth.ssh_private_key: ~/.ssh/other.pem does not exist"),
}
BAD = {f"onprem: {what}": ("configs/clusters/onprem.yaml", *row) for what, row in ONPREM.items()}
BAD |= {f"aws: {what}": ("cluster.yaml", *row) for what, row in AWS.items()}
BAD |= {f"gcp: {what}": ("configs/clusters/gcp.yaml", *row) for what, row in GCP.items()}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_refused_in_one_line_that_says_why(tmp_path, capsys, what):
    name, before, after, why = BAD[what]
    text = filled(name)
    body = text.index("\ncluster_name:")
    assert before in text[body:]
    code, lines = check(tmp_path, capsys, text[:body] + text[body:].replace(before, after, 1))
    assert code == REFUSED
    assert any(why in line for line in lines), lines
    assert all(len(line) < 300 for line in lines)


@pytest.mark.parametrize(("name", "way_out"), [(".ssh/mia-study.pem", "chmod 600"), (".ray/auth_token", "chmod 600")])
def test_a_key_or_token_that_others_can_read_is_refused(tmp_path, capsys, name, way_out):
    (tmp_path / name).chmod(0o644)
    _, (line,) = check(tmp_path, capsys, filled(FILES[1]))
    assert f"~/{name} can be read by others" in line
    assert way_out in line


@pytest.mark.long
def test_an_absent_token_is_refused_with_the_command_that_makes_one_for_its_owner_alone(tmp_path, capsys):
    token = tmp_path / ".ray/auth_token"
    token.unlink()
    token.parent.rmdir()
    _, (line,) = check(tmp_path, capsys, filled(FILES[1]))
    what, _, command = line.partition("; make it: ")
    assert what.endswith("~/.ray/auth_token does not exist")
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", command], check=True, umask=0o022, env=environment)
    assert [oct(path.stat().st_mode & 0o777) for path in (token.parent, token)] == ["0o700", "0o600"]
    assert check(tmp_path, capsys, filled(FILES[1])) == (COMPLETE, [])


@pytest.mark.parametrize("text", ["", "- a\n", "provider: 3\n", "provider: [local]\n"])
def test_what_is_no_cluster_file_is_refused(tmp_path, capsys, text):
    code, (_,) = check(tmp_path, capsys, text)
    assert code == REFUSED


def test_an_absent_file_is_refused(tmp_path, capsys):
    assert mia_study("cluster")(["check", str(tmp_path / "none.yaml")]) == REFUSED
    assert "cannot be read" in capsys.readouterr().err


@pytest.fixture
def commands(monkeypatch):
    """Commands that `down` runs instead of running them; they fail where their words match `commands.failing`."""

    class Commands(list):
        failing = None

    run = Commands()

    def instead(command, **options):
        run.append(" ".join(command))
        return subprocess.CompletedProcess(command, int(bool(run.failing and re.search(run.failing, run[-1]))))

    monkeypatch.setattr(subprocess, "run", instead)
    return run


def write(tmp_path, name):
    path = tmp_path / "some.yaml"
    path.write_text(filled(name), encoding="utf-8")
    return str(path)


def test_down_ends_ray_on_each_host_since_ray_down_ends_the_heads_only(tmp_path, commands):
    path = write(tmp_path, FILES[1])
    assert mia_study("cluster")(["down", path]) == COMPLETE
    assert commands[0].endswith(f"ray.scripts.scripts down -y {path}")
    assert [re.search(r"mia@(\S+) .*ray stop", line, re.DOTALL)[1] for line in commands[1:]] == [
        "10.3.4.10", "10.3.4.11", "10.3.4.12"
    ]  # fmt: skip


COMMANDS = ("ray", "pkill", "pgrep", "sleep", "find", "id")


@pytest.mark.parametrize(
    ("pgrep", "code"),
    [("exit 1", 0), ("exit 0", 1), ("[ $3 != -x ]", 1), ("[ $3 != -f ]", 1), ("exit 127", 1), ("exit 2", 1)],
    ids=["nothing", "something", "no Ray, but MLflow", "Ray, but no MLflow", "no such command", "pgrep fails"],
)
def test_what_down_says_on_a_host_fails_unless_nothing_is_known_to_be_left(tmp_path, pgrep, code):
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in COMMANDS:
        (commands / name).write_text(f"#!/bin/sh\n{pgrep if name == 'pgrep' else 'exit 0'}\n")
        (commands / name).chmod(0o755)
    (commands / "rm").symlink_to(shutil.which("rm"))
    key = tmp_path / "ray_bootstrap_key.pem"
    key.touch()
    words = [shutil.which("bash"), "-c", cluster.STOP]
    done = subprocess.run(words, env={"PATH": str(commands), "HOME": str(tmp_path)}, check=False)
    assert done.returncode == code
    assert not key.exists()


def test_down_names_the_host_where_ray_may_run_on(tmp_path, commands, capsys):
    commands.failing = r"@10\.3\.4\.12 "
    assert mia_study("cluster")(["down", write(tmp_path, FILES[1])]) == INCOMPLETE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("10.3.4.12: ")


@pytest.mark.parametrize(("failing", "code"), [(None, COMPLETE), (r"down -y", INCOMPLETE)])
def test_down_leaves_rented_machines_to_ray(tmp_path, commands, failing, code):
    commands.failing = failing
    assert mia_study("cluster")(["down", write(tmp_path, FILES[0])]) == code
    assert len(commands) == 1


def test_down_of_a_file_without_addresses_is_refused_and_runs_nothing(tmp_path, commands, capsys):
    path = tmp_path / "some.yaml"
    path.write_text("provider: {type: local}\n")
    assert mia_study("cluster")(["down", str(path)]) == REFUSED
    assert not commands


ODD_KINDS = {
    "rsync_exclude": ("rsync_exclude: [7]", "rsync_exclude: needs a list of texts, got [7]"),
    "setup_commands": ("setup_commands: x", "setup_commands: needs a list of texts, got 'x'"),
    "auth": ("auth: [x]", "auth: needs names with a text each"),
    "file_mounts": ("file_mounts: {a: 1}", "file_mounts: needs names with a text each"),
    "available_node_types": ("available_node_types: {a: 1}", "available_node_types: needs names with settings each"),
    "head_node_type": ("available_node_types: {a: {}}\nhead_node_type: b", "head_node_type: 'b' is none of"),
    "docker": ("docker: []", "docker: needs keys and values"),
}


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_a_value_of_an_odd_kind_is_refused_by_check_and_by_down(tmp_path, capsys, kind):
    written, words = ODD_KINDS[kind]
    text = f"provider: {{type: aws, region: us-east-1}}\n{written}\n"
    code, lines = check(tmp_path, capsys, text)
    assert code == REFUSED and len(lines) == 1 and lines[0].startswith(words)
    assert mia_study("cluster")(["down", str(tmp_path / "some.yaml")]) == REFUSED
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("auth", ["7", "true", "x", "[]", "~"])
def test_down_of_own_hosts_refuses_odd_words_on_who_enters_them(tmp_path, capsys, auth):
    path = tmp_path / "some.yaml"
    path.write_text(f"provider: {{type: local, head_ip: 10.0.0.1, worker_ips: []}}\nauth: {auth}\n")
    assert mia_study("cluster")(["down", str(path)]) == REFUSED
    assert "auth: needs names with a text each" in capsys.readouterr().err


def test_down_needs_to_know_who_enters_hosts(tmp_path, capsys):
    check(tmp_path, capsys, filled("configs/clusters/onprem.yaml").replace("  ssh_private_key:", "  other:"))
    assert mia_study("cluster")(["down", str(tmp_path / "some.yaml")]) == REFUSED
    assert "auth.ssh_private_key: needs a text" in capsys.readouterr().err
