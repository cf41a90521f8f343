"""What a process of its own sets for itself: how it ends when it is told to, and for whom its files are."""

import os
import signal
from typing import Any


def terminate_in_order() -> None:
    """SIGTERM does what Ctrl-C does: Python and Tune end in order on SIGINT only.

    So does SIGHUP, as when a terminal is closed, unless it is ignored, as under nohup.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)


def _interrupt(number: int, frame: Any) -> None:
    """A shell without job control has what it starts with `&` ignore SIGINT; that is no reason to ignore SIGTERM."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def leave_with_the_reader() -> None:
    """A command that only prints ends without a word when its reader has gone, as in `| head`."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def keep_to_owner() -> None:
    """What libraries write in this process is for its owner alone; our own files are so by themselves."""
    os.umask(0o077)
