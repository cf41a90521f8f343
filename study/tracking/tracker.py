"""MLflow as a view of the store: one parent run a study, one child run a trial, written by one process at a time."""

import contextlib
import fcntl
import json
import logging
import os
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mia_core import private_files
from mia_core.errors import Refused
from mia_core.hashing import content_id
from mia_core.opening import open_lock
from study.spec.factors import budget_of
from study.store import Damaged, Store
from study.terminal import plain
from study.tracking.run_content import CODE, run_content

VIEW = 5
"""Raised when runs get more than before, or other figures, so that those of older versions are completed."""

RECORDS = "+records"
ABSENT = ("", "", "")
REPORT = "report.html"
"""The study's report, among its pages; one with images of records has another name."""
LOCK_SECONDS = 60.0

# An absent server must not hold up a sweep: give up in seconds, not in minutes.
for _name, _value in {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}.items():
    os.environ.setdefault(_name, _value)


class Tracker:
    """Logs sealed trials from a store, into any tracking URI; None for none at all.

    The first error says so and switches it off until `reconcile` is called again; the store has everything all the
    same. A run is whole once its tag `passes` names what is sealed of its trial; that is written last.
    """

    def __init__(self, store: Store, uri: str | None, warn: Callable[[str], None], include_records: bool = False):
        self._store = store
        self._uri = uri
        self._warn = warn
        self._include_records = include_records
        self._client: Any = None
        self._away = False
        self._damaged: set[str] = set()

    @property
    def behind(self) -> bool:
        """Whether MLflow lacks something that is sealed."""
        return self._uri is not None and (self._client is None or bool(self._damaged))

    def start(self) -> None:
        """Say on the parent run that a sweep is at work, and log what is sealed so far."""
        with self._tolerant():
            self._connect()
            if self._client:
                self._client.update_run(self._parent, status="RUNNING")
        self._catch_up()

    def reconcile(self) -> None:
        """Log every sealed trial that MLflow lacks, or has less of; after an error, connect again first."""
        if not self._client:
            with self._tolerant():
                self._connect()
        self._catch_up()

    def _catch_up(self) -> None:
        names: dict[str, list[str]] = {}
        trained = set()
        for name, marker in self._store.markers().items():
            names.setdefault(marker["trial_id"], []).append(name)
            if marker["work"]["train"]:
                trained.add(marker["trial_id"])
        for trial_id in sorted(trained) if self._client else ():
            _, passes, parent = self._runs.get(trial_id, ABSENT)
            if passes not in self._whole(names[trial_id]) or parent != self._parent:
                self.log(trial_id)

    def log(self, trial_id: str) -> None:
        """Create or complete the run of one sealed trial."""
        if self._client:
            with self._tolerant():
                try:
                    self._log(trial_id)
                except (Damaged, Refused) as error:  # also of settings that no trial of ours has
                    if trial_id not in self._damaged:
                        self._warn(f"not in MLflow: {error}")
                    self._damaged.add(trial_id)

    def close(self, complete: bool) -> None:
        """Say on the parent run how the study stands, as of its last pass."""
        if self._client:
            with self._tolerant():
                status = "FINISHED" if complete else "FAILED"
                self._client.set_terminated(self._parent, status, max(self._sealed_ms()))

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except Damaged:
            raise
        except Exception as error:
            self._client = None
            if not self._away:
                first = (str(error).splitlines() or [type(error).__name__])[0]
                first = without_secrets(first, str(self._uri))
                self._warn(f"MLflow is not reachable and gets nothing for now ({first}); the store has it all")
            self._away = True

    def _connect(self) -> None:
        if self._uri is None:
            return
        from mlflow.tracking import MlflowClient

        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with _alone_at(self._uri):
            client = MlflowClient(tracking_uri=_log_in(self._uri))
            self._experiment = self._find_experiment(client)
            self._runs = self._find_runs(client)
            self._parent = self._find_parent(client)
        self._client, self._away, self._has_data = client, False, False

    def _find_experiment(self, client: Any) -> str:
        study = self._store.study
        found = client.get_experiment_by_name(study)
        if found is None:
            return client.create_experiment(study, _artifacts(str(self._uri)))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return found.experiment_id

    def _find_runs(self, client: Any) -> dict[str, tuple[str, str, str]]:
        """Run, what it has, and its parent, by trial, the study's own under an empty id; one deleted by hand is gone.

        Of several, made by a request that was sent again or by drivers on two machines, the most complete stays.
        """
        found: dict[str, list[tuple[str, str, str]]] = {}
        token = None
        while True:
            page = client.search_runs([self._experiment], max_results=1000, page_token=token)
            for run in page:
                tags = run.data.tags
                if tags.get("kind") in ("study", "trial"):
                    own = (run.info.run_id, tags.get("passes", ""), tags.get("mlflow.parentRunId", ""))
                    found.setdefault(tags.get("trial_id", ""), []).append(own)
            token = page.token
            if not token:
                break
        runs = {}
        for key, several in found.items():
            runs[key], *others = sorted(several, key=lambda own: not own[1])
            for run_id, *_ in others:
                client.delete_run(run_id)
        return runs

    def _find_parent(self, client: Any) -> str:
        """The study's own run, as the store has it now."""
        parent = self._runs.get("", ABSENT)[0]
        if not parent:
            tags = {"kind": "study", "mlflow.runName": f"study {self._store.study}"}
            parent = client.create_run(self._experiment, start_time=min(self._sealed_ms()), tags=tags).info.run_id
        pointer = self._store.pointer()
        contents = {"config.json": json.dumps(self._store.resolved(), indent=2).encode()}
        if (report := self._report()) is not None:
            contents[REPORT] = report
        _put(client, parent, contents)
        about = {key: pointer[key] for key in ("spec", *CODE) if key in pointer} | {"results": self._store.uri}
        client.log_batch(parent, tags=_tags({**about, "mlflow.note.content": self._note(REPORT in contents)}))
        return parent

    def _report(self) -> bytes | None:
        try:
            return self._store.report(REPORT)
        except Damaged as error:
            self._warn(f"not in MLflow: {error}")
            return None

    def _note(self, has_report: bool) -> str:
        """The description of the study's own run, in Markdown: where the answer is, and how to compare trials."""
        budget = budget_of(self._store.resolved()["factors"])
        where = f"is `{REPORT}` among the artifacts of this run" if has_report else "is not here yet"
        return (
            f"**The answer** {where}: {self._command('report')} writes it, and {self._command('track')} puts it "
            "here.\n\n"
            "**Compare trials**: open the runs under this one, select some, *Compare*; of the parameters take "
            f"`train_size`, `{budget}`, `strength` and `defense`, of the metrics `attack/<attack>/auc` and "
            "`quality/<measure>`."
        )

    def _command(self, name: str) -> str:
        """As code in Markdown, which no name of a folder can end."""
        words = plain(shlex.join(["mia-study", name, self._store.uri])).replace("\n", "\\u000a")
        return f"`{words}`" if "`" not in words else f"{'`' * (len(words) + 1)} {words} {'`' * (len(words) + 1)}"

    def _sealed_ms(self) -> list[int]:
        """When passes were sealed; now, when none was yet."""
        times = [datetime.fromisoformat(marker["sealed_at"]) for marker in self._store.markers().values()]
        return [int(moment.timestamp() * 1000) for moment in times or [datetime.now(UTC)]]

    def _log(self, trial_id: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, Metric, Param

        content = run_content(self._store, trial_id, self._include_records)
        run_id = self._runs.get(trial_id, ABSENT)[0]
        if not run_id:
            tags = {"kind": "trial", "trial_id": trial_id, "mlflow.runName": content.name}
            run_id = self._client.create_run(self._experiment, start_time=content.start_ms, tags=tags).info.run_id
            self._runs[trial_id] = (run_id, "", "")
        if not self._has_data:
            name, digest, pool = content.data
            data = Dataset(name=name, digest=digest, source_type="local", source=json.dumps({"pool": pool}))
            self._client.log_inputs(self._parent, [DatasetInput(dataset=data)])
            self._has_data = True
        _put(self._client, run_id, content.files)
        metrics = [Metric(key, value, content.end_ms, content.step) for key, value in content.metrics.items()]
        self._client.log_batch(run_id, metrics, [Param(key, value) for key, value in content.params.items()])
        self._client.set_terminated(run_id, "FINISHED", content.end_ms)
        passes = self._whole(content.passes)[-1]
        own = {"mlflow.parentRunId": self._parent, **content.tags, "passes": passes}
        self._client.log_batch(run_id, tags=_tags(own))
        self._runs[trial_id] = (run_id, passes, self._parent)
        self._damaged.discard(trial_id)

    def _whole(self, passes: Sequence[str]) -> list[str]:
        """Values of the tag `passes` of a run that has all of them."""
        name = content_id([VIEW, sorted(passes)])
        return [name + RECORDS] if self._include_records else [name + RECORDS, name]


def _tags(words: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in words.items()]


def _put(client: Any, run_id: str, contents: Mapping[str, bytes]) -> None:
    """Artifacts, by path; MLflow copies their modes along where it has a folder for them."""
    with tempfile.TemporaryDirectory() as scratch:
        for relative, data in contents.items():
            path = Path(scratch) / relative
            private_files.make_folder(path.parent)
            with private_files.open_file(path, "xb") as file:
                file.write(data)
        client.log_artifacts(run_id, scratch)


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute() if uri.startswith("sqlite:///") else None


def _artifacts(uri: str) -> str | None:
    """Beside an SQLite file, in a folder made for them; a server decides for itself."""
    path = _sqlite_file(uri)
    if path is None:
        return None
    private_files.make_folder(path.parent / "mlartifacts")
    return (path.parent / "mlartifacts").as_uri()


@contextlib.contextmanager
def _alone_at(uri: str) -> Iterator[None]:
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


def _log_in(uri: str) -> str:
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
