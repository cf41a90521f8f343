"""Cluster files: what `ray up` accepts silently, and a cluster's end that leaves nothing running."""

import difflib
import fnmatch
import logging
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import ray
from ray.autoscaler._private.util import prepare_config, validate_config

from mia_core.errors import Refused, shorten
from mia_core.paths import expanded
from study.outcomes import COMPLETE, INCOMPLETE, REFUSED
from study.spec import documents
from study.terminal import say

PROVIDER_KEYS = {
    "local": {"type", "head_ip", "worker_ips", "external_head_ip"},
    "aws": {"type", "region", "availability_zone", "use_internal_ips", "cache_stopped_nodes", "key_pair", "cloudwatch"},
    "gcp": {"type", "region", "availability_zone", "project_id", "cache_stopped_nodes"},
}
"""What Ray's providers read; its schema accepts any key, so that a typo leaves a default in force."""

NODE_KEYS = {
    "aws": {
        "SecurityGroupIds": "Ray's own security group admits SSH from everywhere",
        "IamInstanceProfile": "Ray's own role may do everything with EC2 and S3",
    },
    "gcp": {"networkInterfaces": "GCP's network default admits SSH from everywhere"},
}
"""What each node type must say, and what it gets where it does not."""

PLACEHOLDERS = re.compile(
    r"\b(?:sg|ami|vpc|fs|subnet)-0123456789abcdef0|\bmy-project-123456\b|\bYOUR-PUBLIC-KEY\b|/your-image\b"
)
DOCUMENTATION = [ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
TOKEN = "~/.ray/auth_token"
MAKE_TOKEN = "(umask 077; ray get-auth-token --generate > /dev/null)"
"""Ray itself would make it for all to read."""
LISTS = ("rsync_exclude", "rsync_filter", "initialization_commands", "setup_commands", "head_setup_commands",
         "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")  # fmt: skip
MAPPINGS = ("file_mounts", "auth")
STARTS = {"head": "head_start_ray_commands", "worker": "worker_start_ray_commands"}


def check(path: Path) -> int:
    """Print a line for each mistake in a cluster file; the exit code."""
    found = list(mistakes(load(path)))
    for line in found:
        say(f"refused: {path}: {line}", stderr=True)
    return REFUSED if found else COMPLETE


def load(path: Path) -> dict[str, Any]:
    """A cluster file, as Ray reads it; ValueError for what is none."""
    return documents.load(path, for_ray=True)


# Checking


def mistakes(written: Mapping[str, Any]) -> Iterator[str]:
    """One line for each reason not to start this cluster; nothing is contacted."""
    provider = written.get("provider")
    kind = provider.get("type") if isinstance(provider, Mapping) else None
    if not isinstance(provider, Mapping) or not isinstance(kind, str) or kind not in PROVIDER_KEYS:
        known = ", ".join(PROVIDER_KEYS)
        yield f"provider.type: {shorten(repr(kind))} is not one of {known}, which this check knows"
        return
    if odd := list(_odd(written)):
        yield from odd
        return
    yield from _unknown(provider, PROVIDER_KEYS[kind])
    hosts = list(_hosts(provider)) or list(_counts(written)) if kind == "local" else []
    yield from hosts
    if hosts:
        return  # Ray's own preparation would end this process, or talk
    try:
        logging.getLogger(prepare_config.__module__).setLevel(logging.WARNING)  # it tells what it fills in
        config = prepare_config(dict(written))
        validate_config(config)
    except Exception as error:
        at = ".".join(map(str, getattr(error, "absolute_path", ())))
        yield f"{at + ': ' if at else ''}{getattr(error, 'message', None) or str(error).splitlines()[0]}"
        return
    yield from _places(written)
    yield from _files(config)
    yield from _starts(config)
    yield from _local(config) if kind == "local" else _cloud(config)


def _odd(written: Mapping[str, Any]) -> Iterator[str]:
    """What is of another kind than Ray, rsync or a shell takes; Ray's own schema looks at less."""
    for key in LISTS:
        found = written.get(key, [])
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            yield f"{key}: needs a list of texts, got {shorten(repr(found))}"
    for key in MAPPINGS:
        found = written.get(key, {})
        if not isinstance(found, Mapping) or not all(isinstance(item, str) for item in found.values()):
            yield f"{key}: needs names with a text each, got {shorten(repr(found))}"
    types = written.get("available_node_types", {})
    if not isinstance(types, Mapping) or not all(isinstance(node, Mapping) for node in types.values()):
        yield f"available_node_types: needs names with settings each, got {shorten(repr(types))}"
        return
    for name, node in types.items():
        for key in ("resources", "node_config"):
            if not isinstance(node.get(key, {}), Mapping):
                yield f"available_node_types.{name}.{key}: needs keys and values, got {shorten(repr(node[key]))}"
    head = written.get("head_node_type")
    if types and (not isinstance(head, str) or head not in types):
        yield f"head_node_type: {shorten(repr(head))} is none of available_node_types, {', '.join(types)}"
    docker = written.get("docker", {})
    if not isinstance(docker, Mapping) or not isinstance(docker.get("image", ""), str):
        yield f"docker: needs keys and values, its image a text, got {shorten(repr(docker))}"


def _unknown(provider: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    for key in sorted(set(provider) - known):
        near = difflib.get_close_matches(key, known, 1)
        yield f"provider.{key}: Ray does not read this{f'; did you mean {near[0]}?' if near else ''}"


def _hosts(provider: Mapping[str, Any]) -> Iterator[str]:
    workers = provider.get("worker_ips")
    if not isinstance(workers, list) or not workers:
        yield "provider.worker_ips: needs a list of at least one address"
        return
    given = {f"provider.{key}": provider.get(key) for key in ("head_ip", "external_head_ip")}
    given |= {f"provider.worker_ips[{number}]": address for number, address in enumerate(workers)}
    seen: set[Any] = set()
    for where, address in given.items():
        if address is None and where.endswith("external_head_ip"):
            continue
        found = _address(str(address))
        if found is None:
            yield f"{where}: {address!r} is not an IP address"
            continue
        if found.is_loopback or found.is_unspecified or found.is_multicast:
            yield f"{where}: {address} is no address that other hosts reach it at"
        elif found.is_global and not where.endswith("external_head_ip"):
            yield f"{where}: {address} is a public address; Ray's ports listen on all interfaces, so give a private one"
        if found in seen:
            yield f"{where}: {address} is given twice"
        seen.add(found)


def _counts(written: Mapping[str, Any]) -> Iterator[str]:
    workers = len(written["provider"]["worker_ips"])
    for key in ("min_workers", "max_workers"):
        if written.get(key, workers) != workers:
            yield f"{key}: {written[key]} is not the number of worker_ips, {workers}; leave it out"


def _places(written: Mapping[str, Any]) -> Iterator[str]:
    for text in sorted(set(_strings(written))):
        if found := PLACEHOLDERS.search(text):
            yield f"{found[0]} is a placeholder; give your own"
        for words in re.findall(r"\d+(?:\.\d+){3}", text):
            address = _address(words)
            if address is not None and any(address in network for network in DOCUMENTATION):
                yield f"{words} is a placeholder; give your own address"
            elif address is not None and address.is_unspecified:
                yield f"0.0.0.0 is everybody's address, in {next(word for word in text.split() if words in word)}"


def _address(text: str) -> Any:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.items():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value


def _files(config: Mapping[str, Any]) -> Iterator[str]:
    """The key, the token and what else is copied; rsync's exclusions apply to single files too."""
    needed = {f"file_mounts.{remote}": local for remote, local in config["file_mounts"].items()}
    secret = []
    if key := config["auth"].get("ssh_private_key"):
        needed["auth.ssh_private_key"] = key
        secret.append("auth.ssh_private_key")
    else:
        yield "auth.ssh_private_key: give a key of this cluster's own, since `ray up` copies it to the head"
    if TOKEN in config["file_mounts"]:
        secret.append(f"file_mounts.{TOKEN}")
    else:
        yield f"file_mounts: needs {TOKEN}: {TOKEN}, or nodes cannot tell friend from foe"
    for where, local in needed.items():
        path = expanded(local, variables="none")
        if not path.exists():
            how = f"; make it: {MAKE_TOKEN}" if TOKEN in where else ""
            yield f"{where}: {local} does not exist{how}"
        elif where in secret and path.stat().st_mode & 0o077:
            yield f"{where}: {local} can be read by others; chmod 600 {local}"
        for pattern in config["rsync_exclude"]:
            if where in secret and fnmatch.fnmatch(path.name, pattern):
                yield f"rsync_exclude: {pattern} excludes {local} too, so that it never reaches the head"


def _starts(config: Mapping[str, Any]) -> Iterator[str]:
    for node, key in STARTS.items():
        lines = [part for line in config[key] for part in line.split(";") if "ray start" in part]
        if not lines:
            yield f"{key}: has no `ray start`"
        for line in lines:
            before, words = line.split("ray start", 1)[0].split(), shlex.split(line)
            if "RAY_AUTH_MODE=token" not in before:
                yield f"{key}: put RAY_AUTH_MODE=token before `ray start`; without it anybody who reaches Ray runs code"
            host = _option(words, "--dashboard-host")
            if host not in (None, "localhost", "127.0.0.1"):
                yield f"{key}: --dashboard-host={host} shows it to others; 127.0.0.1, and `ray dashboard` for a tunnel"
            if node == "head" and "--autoscaling-config=~/ray_bootstrap_config.yaml" not in words:
                yield f"{key}: without --autoscaling-config=~/ray_bootstrap_config.yaml no worker is started"
    if any("RAY_AUTH_TOKEN=" in text for text in _strings(config)):
        yield f"RAY_AUTH_TOKEN: a token in this file is copied to all nodes' logs; deliver {TOKEN} by file_mounts"


def _option(words: Sequence[str], name: str) -> str | None:
    """The value of `name=value` or `name value`."""
    for number, word in enumerate(words):
        if word == name:
            return words[number + 1] if number + 1 < len(words) else ""
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


def _local(config: Mapping[str, Any]) -> Iterator[str]:
    """For hosts that are always on."""
    (head,) = [line for line in config[STARTS["head"]] if "ray start" in line][:1] or [""]
    if "RAY_enable_autoscaler_v2=0" not in head.split():
        yield f"{STARTS['head']}: put RAY_enable_autoscaler_v2=0 before `ray start`, or one worker is never started"
    if _option(shlex.split(head), "--num-cpus") != "0":
        yield f"{STARTS['head']}: `ray start` needs --num-cpus=0, or trials run on the head and can take it down"


def _cloud(config: Mapping[str, Any]) -> Iterator[str]:
    """For machines that are rented."""
    types = config["available_node_types"]
    head = types[config["head_node_type"]]
    if head.get("resources", {}).get("CPU") != 0:
        yield f"available_node_types.{config['head_node_type']}: resources {{CPU: 0, GPU: 0}} keep work off the head"
    image = (config.get("docker") or {}).get("image", "")
    if image and ray.__version__ not in image:
        yield f"docker.image: {image} is not this environment's Ray {ray.__version__}"
    provider = config["provider"]
    if provider.get("cache_stopped_nodes", True):
        yield "provider.cache_stopped_nodes: False, or stopped instances' disks keep billing"
    region = str(provider.get("region", ""))
    for zone in filter(None, str(provider.get("availability_zone") or "").split(",")):
        if not zone.startswith(region):
            yield f"provider.availability_zone: {zone} is not in {region}"
    for name, node in types.items():
        for key, why in NODE_KEYS[provider["type"]].items():
            if key not in node["node_config"]:
                yield f"available_node_types.{name}.node_config: needs {key}; {why}"


# Ending


def down(path: Path, written: Mapping[str, Any]) -> int:
    """End the cluster; whether all of it has ended. ValueError for a file that Ray cannot read."""
    provider = written.get("provider")
    if not isinstance(provider, Mapping) or not isinstance(provider.get("type"), str):
        raise Refused(f"{path}: provider.type: needs a word, such as local or aws")
    local = provider["type"] == "local"
    found = [*_odd(written), *(_hosts(provider) if local else ())]
    auth = written.get("auth")
    if not isinstance(auth, Mapping):  # which `_odd` has found, unless it is empty
        auth = {}
    found += [f"auth.{key}: needs a text" for key in ("ssh_user", "ssh_private_key") if local and key not in auth]
    if found:
        raise Refused(f"{path}: {found[0]}")
    ended = _ray("down", "-y", str(path)).returncode == 0
    if not local:
        return COMPLETE if ended else INCOMPLETE
    left = [host for host in (provider["head_ip"], *provider["worker_ips"]) if not _stop(host, written["auth"])]
    for host in left:
        say(f"{host}: could not be reached, or Ray still runs there; the same command tries again", stderr=True)
    return INCOMPLETE if left else COMPLETE


def _ray(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-P", "-m", "ray.scripts.scripts", *arguments], check=False)


MLFLOW = """-u "$(id -u)" -f "[m]lflow.server" """
STOP = f""". ~/.bashrc
ray stop --force
pkill {MLFLOW}
for second in 1 2 3 4 5 6 7 8 9; do pgrep {MLFLOW} > /dev/null || break; sleep 1; done
rm -f ~/ray_bootstrap_config.yaml ~/ray_bootstrap_key.pem
find /tmp/ray -user "$(id -un)" -delete
pgrep -u "$(id -u)" -x "raylet|gcs_server"; ray=$?; pgrep {MLFLOW}; [ $ray$? = 11 ]"""
"""Ended by its `pgrep`s, which say 1 where they find nothing: a host without that command may have anything left."""


def _stop(host: str, auth: Mapping[str, str]) -> bool:
    """End the user's Ray and MLflow on a host by name and remove what they left; whether none is left."""
    options = ["BatchMode=yes", "ConnectTimeout=10", "IdentitiesOnly=yes", "LogLevel=ERROR"]
    options += ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]  # as `ray up` does
    command = ["ssh", "-i", str(expanded(auth["ssh_private_key"], variables="none"))]
    command += [word for option in options for word in ("-o", option)]
    command += [f"{auth['ssh_user']}@{host}", f"bash --login -i -c '{STOP}' 2> /dev/null"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0
