"""Where MLflow is: tracking URIs, what of them may be shown, and one process at a time at an SQLite file."""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from mia_core import private_files
from mia_core.opening import open_lock

LOCK_SECONDS = 60.0


def artifacts_beside(uri: str) -> str | None:
    """Beside an SQLite file, in a folder made for them; None where a server decides for itself."""
    path = _sqlite_file(uri)
    if path is None:
        return None
    private_files.make_folder(path.parent / "mlartifacts")
    return (path.parent / "mlartifacts").as_uri()


@contextlib.contextmanager
def alone_at(uri: str) -> Iterator[None]:
    """One process at a time makes an SQLite file's tables and finds what is there: made by several, they fail."""
    path = _sqlite_file(uri)
    if path is None:
        yield
        return
    with open_lock(path.parent / f".{path.name}.lock") as file:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError(f"{path} is held by another process") from None
                time.sleep(0.1)
        private_files.open_file(path, "ab").close()  # SQLite's own would be for all to read
        yield


def log_in(uri: str) -> str:
    """The URI for MLflow. User and password go where its requests for artifacts look too, and its messages do not."""
    found = re.fullmatch(r"(https?://)([^:@/]*):([^@/]*)@(.*)", uri)
    if found is None:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = map(unquote, found.group(2, 3))
    return found[1] + found[4]


def public(uri: str) -> str:
    """A tracking URI as it may be shown: without user, password and options, which may be secrets."""
    return uri if uri.startswith("sqlite:") else re.sub(r"//.*@", "//", uri).partition("?")[0]


def without_secrets(text: str, uri: str) -> str:
    """A message with all that `public` leaves out of the URI, and the password in any spelling, struck out."""
    if public(uri) == uri:
        return text
    account = uri.partition("//")[2].rpartition("@")[0]
    password = account.partition(":")[2]
    for secret in (account, password, unquote(password), uri.partition("?")[2]):
        text = text.replace(secret, "***") if secret else text
    return text


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute() if uri.startswith("sqlite:///") else None
