"""MLflow as a view of the store: one parent run a study, one child run a trial, written by one process at a time."""

import contextlib
import json
import logging
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mia_core import private_files
from mia_core.errors import Refused
from mia_core.hashing import content_id
from study.spec.factors import budget_of
from study.store import Damaged, Store
from study.terminal import plain
from study.tracking import addresses, ownership
from study.tracking.addresses import without_secrets
from study.tracking.ownership import KIND, OF_STUDY, PARENT, PASSES, STUDY_RUN, TRIAL_ID, TRIAL_RUN, Run
from study.tracking.run_content import CODE, Begun, logged_name, run_content
from study.tracking.study_metrics import headline

VIEW = 6
"""Raised when runs get more than before, or other figures, so that those of older versions are completed."""

RECORDS = "+records"
NO_FILES = "-artifacts"
"""Ends the tag `passes` of a run that lacks nothing but its artifacts."""
REPORT = "report.html"
"""The study's report, among its pages; one with images of records has another name."""
NAME = "mlflow.runName"
METRICS, PARAMS = 1000, 100
"""So many a call, at most."""

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


class OutOfTime(Exception):
    """What was to be done by a moment is not done."""


class Tracker:
    """Logs sealed trials from a store, into any tracking URI; None for none at all.

    The first error says so and switches it off until `reconcile` is called again; the store has everything all the
    same. Where only artifacts cannot be written, runs get all else. A run is whole once its tag `passes` names what is
    sealed of its trial; that is written last. experiment: its name, by default the study's. until: a moment
    (`time.monotonic`) after which nothing more is begun, None for no end.
    """

    def __init__(
        self,
        store: Store,
        uri: str | None,
        warn: Callable[[str], None],
        include_records: bool = False,
        experiment: str | None = None,
    ):
        self._store = store
        self._uri = uri
        self._warn = warn
        self._include_records = include_records
        self._name = experiment or store.study
        self._client: Any = None
        self._away = False
        self._damaged: set[str] = set()
        self._lacks_files = self._cut = self._has_data = False
        self.until: float | None = None

    @property
    def behind(self) -> bool:
        """Whether MLflow lacks something that is sealed."""
        lacks = bool(self._damaged) or self._lacks_files or self._cut
        return self._uri is not None and (self._client is None or lacks)

    def start(self) -> None:
        """Say on the parent run that a sweep is at work, log what is sealed so far, end what a killed one has left."""
        with self._tolerant():
            self._connect()
            if self._client:
                self._client.update_run(self._parent, status=ownership.RUNNING)
        self._catch_up()
        with self._tolerant():
            self._end_unsealed()

    def begin(self, trials: Sequence[Begun]) -> None:
        """Show runs of trials whose training begins; those that there are, of attempts that were cut short, again."""
        if not self._client:
            return
        with self._tolerant():
            for trial in trials:
                self._go_on()
                run = self._runs.get(trial.trial_id)
                if run is None:
                    start_ms = int(datetime.now(UTC).timestamp() * 1000)
                    self._create(trial.trial_id, trial.name, start_ms, trial.params)
                elif not run.passes:
                    self._client.update_run(run.run_id, status=ownership.RUNNING)
                    self._runs[trial.trial_id] = Run(run.run_id, "", run.parent, running=True)

    def end(self, trial_ids: Sequence[str]) -> None:
        """Say that training of these ended without a result, where it did."""
        if self._client:
            with self._tolerant():
                self._end_unsealed(trial_ids)

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
            names.setdefault(marker["trial_id"], []).append(logged_name(name, marker))
            if marker["work"]["train"]:
                trained.add(marker["trial_id"])
        for trial_id in sorted(trained) if self._client else ():
            run = self._runs.get(trial_id, Run(""))
            if run.passes not in self._whole(names[trial_id]) or run.parent != self._parent:
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
        """Say on the parent run how the study stands and what came out of it, as of its last pass."""
        if self._client:
            with self._tolerant():
                self._end_unsealed()
                at = max(self._sealed_ms())
                self._client.set_terminated(self._parent, "FINISHED" if complete else "FAILED", at)
                values, step = headline(self._store)
                self._log_metrics(self._parent, [(key, value, at, step) for key, value in values.items()])

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except Damaged:
            raise
        except OutOfTime:
            self._cut = True
        except Exception as error:
            self._client = None
            if not self._away:
                self._warn(
                    f"MLflow is not reachable and gets nothing for now ({self._reason(error)}); the store has it all"
                )
            self._away = True

    def _reason(self, error: Exception) -> str:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return without_secrets(first, str(self._uri))

    def _go_on(self) -> None:
        if self.until is not None and time.monotonic() > self.until:
            raise OutOfTime

    def _connect(self) -> None:
        if self._uri is None:
            return
        from mlflow.tracking import MlflowClient

        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._lacks_files = self._cut = self._has_data = False
        with addresses.alone_at(self._uri):
            client = MlflowClient(tracking_uri=addresses.log_in(self._uri))
            self._experiment = self._find_experiment(client)
            self._runs = self._find_runs(client)
            self._parent = self._find_parent(client)
        self._client, self._away = client, False

    def _find_experiment(self, client: Any) -> str:
        found = client.get_experiment_by_name(self._name)
        if found is None:
            return client.create_experiment(self._name, addresses.artifacts_beside(str(self._uri)))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return found.experiment_id

    def _find_runs(self, client: Any) -> dict[str, Run]:
        """This store's runs by trial, the study's own under an empty id; one deleted by hand is gone."""
        found = ownership.own_runs(client, self._experiment, self._store)
        for run_id in found.doubled:
            client.delete_run(run_id)
        if found.taken:
            for run in found.taken.values():
                client.log_batch(run.run_id, tags=_tags(ownership.tags_of(self._store)))
            self._warn(
                f"{len(found.taken)} runs in MLflow are taken over for {self._store.uri}: of an earlier version, whose "
                "run of the study names it, or of where this store was before"
            )
        return {**found.taken, **found.runs}

    def _find_parent(self, client: Any) -> str:
        """The study's own run, as the store has it now."""
        parent = self._runs.get(OF_STUDY, Run("")).run_id
        if not parent:
            tags = {KIND: STUDY_RUN, NAME: f"study {self._store.study}", **ownership.tags_of(self._store)}
            parent = client.create_run(self._experiment, start_time=min(self._sealed_ms()), tags=tags).info.run_id
        pointer = self._store.pointer()
        contents = {"config.json": json.dumps(self._store.resolved(), indent=2).encode()}
        if (report := self._report()) is not None:
            contents[REPORT] = report
        self._put(client, parent, contents)
        about = {key: pointer[key] for key in ("spec", *CODE) if key in pointer} | ownership.tags_of(self._store)
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
        budget = budget_of(self._store.resolved().get("factors", {}))
        where = f"is `{REPORT}` among the artifacts of this run" if has_report else "is not here yet"
        return (
            f"**The answer** {where}: {self._command('report')} writes it, and {self._command('track')} puts it "
            "here.\n\n"
            "**Compare trials**: open the runs under this one, select some, *Compare*; of the parameters take "
            f"`train_size`, `{budget}`, `strength` and `defense`, of the metrics `attack/<attack>/auc` and "
            "`quality/<measure>`. Loss curves are the metrics `history/<loss>` of each run.\n\n"
            "**No epsilon covers a metric**, loss curves of private trainings neither: all are functions of the "
            "records. Who reads this page may be one of those that a guarantee is meant against."
        )

    def _command(self, name: str) -> str:
        """As code in Markdown, which no name of a folder can end."""
        words = plain(shlex.join(["mia-study", name, self._store.uri])).replace("\n", "\\u000a")
        return f"`{words}`" if "`" not in words else f"{'`' * (len(words) + 1)} {words} {'`' * (len(words) + 1)}"

    def _sealed_ms(self) -> list[int]:
        """When passes were sealed; now, when none was yet."""
        times = [datetime.fromisoformat(marker["sealed_at"]) for marker in self._store.markers().values()]
        return [int(moment.timestamp() * 1000) for moment in times or [datetime.now(UTC)]]

    def _create(self, trial_id: str, name: str, start_ms: int, params: Mapping[str, str]) -> str:
        """A run of a trial, which shows under the study's own at once."""
        tags = {KIND: TRIAL_RUN, TRIAL_ID: trial_id, NAME: name, PARENT: self._parent}
        tags |= ownership.tags_of(self._store)
        run_id = self._client.create_run(self._experiment, start_time=start_ms, tags=tags).info.run_id
        self._runs[trial_id] = Run(run_id, running=True)
        self._log_params(run_id, params)
        return run_id

    def _end_unsealed(self, trial_ids: Sequence[str] | None = None) -> None:
        """Runs that nobody works on any more are no longer shown as running; of these trials, that failed, or all."""
        status = "KILLED" if trial_ids is None else "FAILED"
        for trial_id in trial_ids if trial_ids is not None else list(self._runs if self._client else ()):
            run = self._runs.get(trial_id)
            if run and trial_id != OF_STUDY and run.running and not run.passes:
                self._client.set_terminated(run.run_id, status)
                self._runs[trial_id] = Run(run.run_id, "", run.parent)

    def _log(self, trial_id: str) -> None:
        from mlflow.entities import Dataset, DatasetInput

        self._go_on()
        content = run_content(self._store, trial_id, self._include_records)
        run = self._runs.get(trial_id)
        run_id = run.run_id if run else self._create(trial_id, content.name, content.start_ms, {})
        if not self._has_data:
            name, digest, pool = content.data
            data = Dataset(name=name, digest=digest, source_type="local", source=json.dumps({"pool": pool}))
            self._client.log_inputs(self._parent, [DatasetInput(dataset=data)])
            self._has_data = True
        self._go_on()
        if run and run.passes in self._whole(content.models):  # it lacks derived attacks alone
            has_files = not run.passes.endswith(NO_FILES)
        else:
            has_files = self._put(self._client, run_id, content.files)
            self._go_on()
            self._log_params(run_id, content.params)
            self._log_metrics(
                run_id, [(key, value, content.end_ms, content.step) for key, value in content.metrics.items()]
            )
            self._log_metrics(run_id, content.curves)
        self._log_metrics(
            run_id, [(key, value, content.derived_ms, content.step) for key, value in content.derived.items()]
        )
        self._client.set_terminated(run_id, "FINISHED", content.end_ms)
        passes = self._whole(content.passes, has_files)[-1]
        own = {PARENT: self._parent, NAME: content.name, **content.tags, **ownership.tags_of(self._store)}
        self._client.log_batch(run_id, tags=_tags({**own, PASSES: passes}))
        self._runs[trial_id] = Run(run_id, passes, self._parent)
        self._damaged.discard(trial_id)

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        for part in _parts([Param(key, value) for key, value in params.items()], PARAMS):
            self._client.log_batch(run_id, params=part)

    def _log_metrics(self, run_id: str, points: Sequence[tuple[str, float, int, int]]) -> None:
        """points: key, value, milliseconds, step."""
        from mlflow.entities import Metric

        for part in _parts([Metric(*point) for point in points], METRICS):
            self._go_on()
            self._client.log_batch(run_id, metrics=part)

    def _whole(self, passes: Sequence[str], has_files: bool | None = None) -> list[str]:
        """Values of the tag `passes` of a run that lacks nothing which can be written now.

        has_files: whether artifacts were written; None for what is enough, which is without while they cannot be.
        """
        name = content_id([VIEW, sorted(passes)])
        whole = [name + RECORDS] if self._include_records else [name + RECORDS, name]
        bare = [words + NO_FILES for words in whole]
        if has_files is None:
            return whole + bare if self._lacks_files else whole
        return whole if has_files else bare

    def _put(self, client: Any, run_id: str, contents: Mapping[str, bytes]) -> bool:
        """Artifacts, by path; whether they could be written. One failure says so, and they are not tried again."""
        if self._lacks_files:
            return False
        try:
            _put(client, run_id, contents)
        except Exception as error:
            client.get_run(run_id)  # a server that is away is another trouble, and raises here
            self._warn(
                f"MLflow cannot keep artifacts ({self._reason(error)}): runs get all but those; once their place can "
                f"be written from here, {self._command('track')} puts them there"
            )
            self._lacks_files = True
        return not self._lacks_files


def _parts(items: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    return (items[at : at + most] for at in range(0, len(items), most))


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
