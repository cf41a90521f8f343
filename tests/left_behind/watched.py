"""`python -m tests.left_behind.watched ...`: study.sweep, and what there is to see of it while it lives.

In the folder $WATCHED: `ray`, a copy of its Ray's folder as it was at the end; `seen.json`, sockets, modes and the
token; `worker.json`, what a worker of Tune has.
"""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import ray
from ray._raylet import AuthenticationTokenLoader

from study.cli.main import main
from study.run import scheduling
from tests.left_behind.planted import ENVIRONMENT

watched = Path(os.environ["WATCHED"])
plain_run, plain_shutdown = scheduling.run_trajectory, ray.shutdown
ASK = "import sys; from ray._raylet import GcsClient; print(GcsClient(sys.argv[1]).internal_kv_keys(b'', b'', 5))"


def run_trajectory(config, shared, results, code):
    """In a worker: the same, then tell which planted variables it has, what it listens at, and its umask."""
    plain_run(config, shared, results, code)
    own = {name: os.environ.get(name) == value for name, value in ENVIRONMENT.items()}
    umask = os.umask(0)
    os.umask(umask)
    told = {"variables": own, "sockets": sockets(psutil.Process()), "umask": umask}
    (watched / "worker.json").write_text(json.dumps(told))


def sockets(*processes):
    """What they listen at: command, address; datagrams too. A process that ends meanwhile listens at nothing."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            name = Path("".join(process.cmdline()[:1])).name
            for connection in process.net_connections("inet"):
                if connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE) and connection.laddr:
                    found.append((name, connection.laddr.ip))
    return found


def asked(address, **environment):
    """The exit code of a client that asks Ray's GCS for keys."""
    command = [sys.executable, "-c", ASK, address]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run(command, env={**kept, **environment}, capture_output=True, timeout=120)
    return done.returncode


def shutdown():
    """Look, then end Ray."""
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    temporary = Path(os.environ["TMPDIR"])
    token, address = os.environ.get("RAY_AUTH_TOKEN_PATH"), ray.get_runtime_context().gcs_address
    above = [path for path in session.parents if path.is_relative_to(temporary) and path != temporary]
    seen = {
        "sockets": sockets(psutil.Process(), *psutil.Process().children(recursive=True)),
        "modes above": [stat.S_IMODE(path.stat().st_mode) for path in above],
        "token": AuthenticationTokenLoader.instance().get_raw_token(ignore_auth_mode=True),
        "mode of the token": stat.S_IMODE(Path(token).stat().st_mode) if token else None,
        "friend": asked(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token)),
        "stranger": asked(address, RAY_AUTH_MODE="disabled"),
        "another's token": asked(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64),
    }
    (watched / "seen.json").write_text(json.dumps(seen))
    shutil.copytree(session, watched / "ray", ignore=lambda folder, names: names if folder.endswith("/sockets") else [])
    plain_shutdown()


if __name__ == "__main__":
    scheduling.run_trajectory, ray.shutdown = run_trajectory, shutdown
    sys.exit(main(["sweep", *sys.argv[1:]], process=True))
