"""A lock in a bucket: an object that its owner renews, and that somebody else may take over once it is not renewed."""

import contextlib
import json
import os
import platform
import secrets
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

from mia_core.errors import Refused
from mia_core.plain_json import parse_json
from study.store.files import Away

NAME = ".lock"
LEASE_SECONDS = 30.0
"""After this long without a renewal the owner counts as dead."""
RENEW_SECONDS = 5.0


@dataclass(frozen=True)
class Found:
    """The object of a lease. age: seconds since its last renewal, both by the server's clock."""

    data: bytes
    etag: str
    age: float

    @property
    def owner(self) -> str:
        """The owner's name; empty if the lease was released."""
        return str(self.content.get("owner", ""))

    @property
    def content(self) -> dict[str, Any]:
        """What its owner wrote; nothing for what is no lease."""
        with contextlib.suppress(ValueError):
            content = parse_json(self.data)
            if isinstance(content, dict):
                return content
        return {}


class Leased(Protocol):
    """A place with conditional PUT."""

    uri: str

    def look(self, relative: str) -> Found | None:
        """The object as it is."""

    def put(self, relative: str, data: bytes, instead_of: str | None) -> str | None:
        """Replace one of that ETag, or create; its ETag, None when the condition did not hold."""


class Lease:
    """Of one driver. Whatever clocks say, only one of several can take a lease over: each names the ETag it saw."""

    def __init__(self, place: Leased) -> None:
        self._place = place
        self._owner = secrets.token_hex(8)
        self._etag = ""
        self._count = 0
        self._lost = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def acquire(self) -> None:
        """ValueError when another driver has it. A lease that its owner left behind is waited for, LEASE_SECONDS."""
        first = self._place.look(NAME)
        found = first
        until = time.monotonic() + LEASE_SECONDS - (first.age if first else 0)
        while found and found.owner and time.monotonic() < until:
            time.sleep(RENEW_SECONDS / 5)
            found = self._place.look(NAME)
            if first and found and found.owner and found.etag != first.etag:
                raise Refused(self._refusal(found))
        etag = self._put(found.etag if found else None)
        if etag is None:
            raise Refused(self._refusal(self._place.look(NAME)))
        self._etag = etag
        self._thread.start()

    def require(self) -> None:
        """Away once another driver took it over."""
        if self._lost:
            raise Away(f"{self._place.uri}: this driver was away for too long, and another one goes on with the study")

    def release(self) -> None:
        """Release the lease; Away if another driver took it over meanwhile."""
        self._ending.set()
        self._thread.join()
        self.require()
        with contextlib.suppress(Away):  # it ends by itself
            self._put(self._etag, owner="")

    def _keep(self) -> None:
        while not self._ending.wait(RENEW_SECONDS):
            with contextlib.suppress(Away):  # tried again; what is written meanwhile is sealed once all the same
                etag = self._put(self._etag) or self._own()
                if etag is None:
                    self._lost = True
                    signal.pthread_kill(_main_thread(), signal.SIGINT)
                    return
                self._etag = etag

    def _own(self) -> str | None:
        """The ETag if this driver still has the lease: its request was served, and only the answer was lost."""
        found = self._place.look(NAME)
        return found.etag if found and found.owner == self._owner else None

    def _put(self, instead_of: str | None, owner: str | None = None) -> str | None:
        self._count += 1
        content = {
            "owner": self._owner if owner is None else owner,
            "host": platform.node(),
            "process": os.getpid(),
            "renewed": self._count,
        }
        return self._place.put(NAME, json.dumps(content).encode(), instead_of)

    def _refusal(self, found: Found | None) -> str:
        content = found.content if found else {}
        who = f"process {content.get('process')} on {content.get('host')}" if content else "just now"
        return (
            f"results: another sweep or mia-study track is working on {self._place.uri} ({who}); wait for it or stop "
            f"it, then the same command goes on"
        )


def _main_thread() -> int:
    thread = threading.main_thread().ident
    assert thread is not None
    return thread
