import signal
import subprocess
import sys

IGNORED = """
import os, signal
from study.signals import terminate_in_order
terminate_in_order()
try:
    os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    print("in order")
"""


def ignore():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_a_sweep_that_a_script_put_in_the_background_ends_in_order_on_sigterm():
    command = [sys.executable, "-c", IGNORED]
    done = subprocess.run(command, preexec_fn=ignore, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "in order\n", done.stderr
