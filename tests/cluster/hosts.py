"""Hosts on one machine: namespaces with an address, processes, /tmp, home folder and sshd of their own.

They hang on a bridge in a network namespace that leads nowhere else. All files outside the private folders are this
machine's. Needs root, and Debian's openssh-server, rsync, iproute2, iptables and procps; exit code 1 of
`python -m tests.cluster.hosts` says in one line what is missing.
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

COMMANDS = {
    "ip": "iproute2", "ss": "iproute2", "iptables": "iptables", "rsync": "rsync", "sshd": "openssh-server",
    "ssh-keygen": "openssh-client", "unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux",
    "pgrep": "procps",
}  # fmt: skip
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOME = Path(pwd.getpwuid(os.geteuid()).pw_dir)
"""Where sshd leads to, whatever $HOME is."""
BOOT = """
set -eu
hostname "$NAME"
mount -t proc proc /proc
mount -t tmpfs tmpfs /mnt
number=0
for place in $KEEP; do mkdir -p /mnt/kept/$number; mount --bind "$place" /mnt/kept/$number; number=$((number + 1)); done
for place in /tmp /run /dev/shm; do mount -t tmpfs tmpfs "$place"; done
mount --bind /mnt/kept/0 "$HOME"
number=0
for place in $KEEP; do mkdir -p "$place"; mount --bind /mnt/kept/$number "$place"; number=$((number + 1)); done
mkdir -p /run/sshd "$HOME/.ssh" /mnt/results
mount --bind "$RESULTS" /mnt/results
cp "$KEYS/authorized" "$HOME/.ssh/authorized_keys"
mount --bind "$KEYS/hosts" /etc/hosts
(umask 077; sed 's/^root:[^:]*/root:*/' /etc/shadow > /run/shadow)  # sshd lets nobody into a locked account
mount --bind /run/shadow /etc/shadow
chmod 1777 /tmp /dev/shm
chmod 700 "$HOME" "$HOME/.ssh"
sh -c "$SETUP"
exec /usr/sbin/sshd -D -e -f /dev/null -h "$KEYS/host" -o ListenAddress=$ADDRESS -o UsePAM=no -o PidFile=none \
    -o PermitRootLogin=prohibit-password -o PasswordAuthentication=no -o MaxStartups=100 \
    -o Subsystem="sftp internal-sftp" \
    -o SetEnv="PATH=$PATH PYTHONPATH=$HOME/mia-study OMP_NUM_THREADS=1 RAY_worker_niceness=0"
"""
"""A host's first process, which becomes sshd; that collects orphans too."""


PROBE = "mount -t tmpfs tmpfs /mnt && ip link add bridge type bridge && ip link add one type veth peer name two"
"""What a host is made of, in namespaces that end with this command."""


def absent():
    """What this machine lacks for hosts, in one line; empty when it has all."""
    if os.geteuid() != 0:
        return "needs root, for namespaces"
    packages = {package for command, package in COMMANDS.items() if not shutil.which(command, path=PATH)}
    if packages:
        return f"needs apt-get install --no-install-recommends {' '.join(sorted(packages))}"
    spaces = ["--net", "--mount", "--pid", "--fork", "--uts", "--ipc", "--propagation", "private"]
    tried = subprocess.run(
        ["unshare", *spaces, "sh", "-c", PROBE], env={"PATH": PATH}, capture_output=True, text=True, check=False
    )
    if tried.returncode == 0:
        return ""
    said = (tried.stderr.strip().splitlines() or ["no reason"])[-1]
    return f"needs a kernel that lets root make namespaces and bridges, as in a privileged container ({said})"


def call(*command):
    """Run a command on this machine; its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def remove_abandoned():
    """Network namespaces of runs that were killed; their hosts ended with them."""
    for name in call("ip", "netns", "list").split():
        if (found := re.match(r"mia(\d+)-", name)) and not psutil.pid_exists(int(found[1])):
            call("ip", "netns", "del", name)


class Network:
    """A bridge without a way out, and hosts on it."""

    def __init__(self, folder, keep, setup):
        """folder: for keys, and the results that hosts share.

        keep: folders that hosts see at the same place. setup: shell commands for each host that starts.
        """
        self.prefix = f"mia{os.getpid()}"
        self.hub = f"{self.prefix}-hub"
        self.keys, self.results = folder / "keys", folder / "results"
        self.keep = [self.keys, self.results, *keep]
        self.setup = setup
        self.hosts = {}

    def __enter__(self):
        remove_abandoned()
        self.keys.mkdir()
        self.results.mkdir()
        for name in ("host", "user"):
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.keys / name))
        shutil.copy(self.keys / "user.pub", self.keys / "authorized")
        (self.keys / "hosts").write_text("127.0.0.1 localhost\n")
        call("ip", "netns", "add", self.hub)
        call("ip", "-n", self.hub, "link", "add", "bridge", "type", "bridge")
        call("ip", "-n", self.hub, "link", "set", "bridge", "up")
        return self

    def __exit__(self, *error):
        for host in self.hosts.values():
            host.power_off()
            call("ip", "netns", "del", host.net)
        call("ip", "netns", "del", self.hub)

    def host(self, name, address):
        """A host that is on."""
        host = Host(self, name, address)
        self.hosts[name] = host
        with (self.keys / "hosts").open("a") as file:
            file.write(f"{address} {name}\n")
        call("ip", "netns", "add", host.net)
        link = ("type", "veth", "peer", "name", "eth0", "netns", host.net)
        call("ip", "-n", self.hub, "link", "add", name, *link)
        call("ip", "-n", self.hub, "link", "set", name, "master", "bridge", "up")
        call("ip", "-n", host.net, "link", "set", "lo", "up")
        call("ip", "-n", host.net, "link", "set", "eth0", "up")
        call("ip", "-n", host.net, "address", "add", f"{address}/24", "dev", "eth0")
        host.power_on()
        return host


class Host:
    """One host. Its first process is sshd; when that ends, by `power_off` or with the tests, so does all there."""

    def __init__(self, network, name, address):
        self.network, self.name, self.address = network, name, address
        self.net = f"{network.prefix}-{name}"
        self.disk = network.keys.parent / f"{name}.disk"
        self.machine = None

    def power_on(self):
        """Start, with the home folder that it had, and wait for sshd."""
        network = self.network
        self.disk.mkdir(exist_ok=True)
        kept = " ".join(map(str, [self.disk, *network.keep]))
        environment = {
            "PATH": PATH, "HOME": str(HOME), "NAME": self.name, "ADDRESS": self.address, "KEYS": str(network.keys),
            "RESULTS": str(network.results), "KEEP": kept, "SETUP": network.setup,
        }  # fmt: skip
        unshared = ["--pid", "--fork", "--kill-child=SIGKILL", "--mount", "--uts", "--ipc", "--propagation", "private"]
        log = (network.keys.parent / f"{self.name}.log").open("ab")
        within = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.net]
        self.machine = subprocess.Popen(
            [*within, "unshare", *unshared, "bash", "-c", BOOT],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        log.close()
        until = time.monotonic() + 30
        while f"{self.address}:22" not in self.listening():
            assert self.machine.poll() is None, (network.keys.parent / f"{self.name}.log").read_text()
            assert time.monotonic() < until, f"{self.name} does not come up"
            time.sleep(0.1)

    def power_off(self):
        """Everything there ends at once; /tmp, /run and /dev/shm are gone."""
        first = self._first()
        self.machine.kill()
        self.machine.wait()
        if first:
            psutil.wait_procs([first], timeout=30)

    def replace(self):
        """Another machine with its name and address, off."""
        self.power_off()
        shutil.rmtree(self.disk)

    def unplug(self):
        """No packet from or to it."""
        call("ip", "-n", self.network.hub, "link", "set", self.name, "down")

    def plug(self):
        call("ip", "-n", self.network.hub, "link", "set", self.name, "up")

    def received_bytes(self):
        """So far, since the host was made."""
        return int(call("ip", "netns", "exec", self.net, "cat", "/sys/class/net/eth0/statistics/rx_bytes"))

    def listening(self):
        """address:port of all that listens for TCP there."""
        return {line.split()[3] for line in call("ip", "netns", "exec", self.net, "ss", "-Hltn").splitlines()}

    def processes(self):
        """All that runs there besides sshd."""
        first = self._first()
        children = first.children(recursive=True) if first else []
        found = []
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                if not child.name().startswith("sshd") and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(child.cmdline()))
        return found

    def start(self, command, output=None, **environment):
        """A shell command there, in a login shell as SSH would; output: a file."""
        own = {"PATH": PATH, "HOME": str(HOME), "PYTHONPATH": f"{HOME}/mia-study", "OMP_NUM_THREADS": "1"}
        own["RAY_worker_niceness"] = "0"  # 15 by default: beside other work, a host would do next to nothing
        first = self._first()
        assert first, f"{self.name} is off"
        return subprocess.Popen(
            ["nsenter", "--target", str(first.pid), "--mount", "--pid", "--uts", "--ipc", "--net",
             "bash", "-c", f"cd; . ~/.bashrc 2> /dev/null; {command}"],
            env={**own, **environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip

    def run(self, command, code=0, seconds=600, **environment):
        """A shell command there; what it printed. SSH's shared connections outlive it, hence a file."""
        with tempfile.TemporaryFile("w+") as output:
            process = self.start(command, output, **environment)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
            output.seek(0)
            printed = output.read()
        assert code is None or process.returncode == code, f"{self.name}: {command}: {process.returncode}: {printed}"
        return printed

    def _first(self):
        """Its first process, if it is on."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return next(iter(psutil.Process(self.machine.pid).children()), None)
        return None


if __name__ == "__main__":
    sys.exit(absent() or 0)
