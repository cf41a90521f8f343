"""Which running cluster `--address` names: found, and asked whether it is one, before Ray waits for it for minutes."""

import socket
import subprocess
import sys

from ray._private.services import canonicalize_bootstrap_address

from mia_core.errors import Refused, shorten

TCP_SECONDS, SECONDS = 5.0, 20.0
"""How long a host may take to accept a connection, and then Ray there to answer; both far below half a minute."""

ASK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
"""Run in another process, since it tries for minutes and could not be stopped in this one."""

WAYS = (
    "`ray start --head` (or `ray up FILE`) starts one, docs/cluster.md says how; without --address this machine is used"
)


def found(address: str) -> str:
    """host:port of the cluster that `auto` or `host:port` names; Refused, within SECONDS, if there is none."""
    where = _resolved(address)
    host, _, port = where.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), TCP_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
        raise Refused(f"--address {shorten(address)}: nobody is at {shorten(where)} ({why}); {WAYS}") from None
    try:
        command = [sys.executable, "-P", "-c", ASK, where]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Refused(
            f"--address {address}: who listens at {where} does not answer as a Ray cluster in {SECONDS:.0f} s; give "
            f"the address that `ray start --head` printed; {WAYS}"
        ) from None
    if asked.returncode:
        reason = (asked.stderr.strip().splitlines() or ["it ended"])[-1]
        raise Refused(
            f"--address {address}: {where} is no Ray cluster that this process may join: {shorten(reason)}; its Ray "
            "and its token (RAY_AUTH_MODE, ~/.ray/auth_token) must be those of this machine"
        )
    return where


def _resolved(address: str) -> str:
    """host:port; Refused for what is none, or where `auto` finds no cluster."""
    if address.startswith("ray://"):
        raise Refused(f"--address {shorten(address)}: run the command on the head of the cluster, with --address auto")
    try:
        where = canonicalize_bootstrap_address(address.strip())
    except ConnectionError:
        raise Refused(f"--address {address}: no Ray cluster runs on this machine; {WAYS}") from None
    except (ValueError, OSError):
        where = None
    if not where:
        raise Refused(f"--address {shorten(repr(address))}: is neither auto nor host:port; {WAYS}")
    return str(where)
