"""A sweep that was planned and may run: what is missing under Ray Tune, MLflow beside it, and the last lines."""

import contextlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from mia_core.errors import Refused
from study.design.data_shown import recorded
from study.design.derivations import Derivations
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.trials import Trial
from study.design.work import Work, missing
from study.machine import code_versions, versions
from study.outcomes import AGAIN, COMPLETE, INCOMPLETE, Stopped
from study.plan import cost, data_changes, overview
from study.plan.capacity import Machines
from study.plan.memory import Memory
from study.plan.outlook import Outlook
from study.run import failures, heartbeat, search
from study.run.deriving import derive
from study.run.events import Events
from study.run.feature_spaces import feature_network, require_same_network
from study.run.in_process import run_in_process
from study.store import Compactor, Damaged, Done, Store, compact
from study.store.collecting import drop_spent_checkpoints
from study.store.seals import SWEPT
from study.terminal import Console
from study.verdicts import claims, controls

if TYPE_CHECKING:
    from study.tracking.aside import TrackerAside

NAMED = 5

Todo = Mapping[str, Sequence[Work]]
"""Works by trajectory id."""


@dataclass(kw_only=True)
class Session:
    """One sweep of a store that this process has locked.

    design: replaced by the design of all points where a search goes on. address: of the Ray that trials run on, None
    for one of this machine. pilot: whether what is run is only the pilot of a plan. include_records: whether samples go
    to MLflow too. in_process: whether trials run in this process, one after the other, without Ray.
    """

    design: Design
    store: Store
    machines: Machines
    console: Console
    address: str | None = None
    pilot: bool = False
    include_records: bool = False
    in_process: bool = False

    def sweep(self, todo: Todo, outlook: Outlook) -> int:
        """Publish the design, run `todo`, and sum up; the exit code. outlook: of `todo`, as it was planned."""
        from study.tracking.aside import TrackerAside
        from study.tracking.tracker import Tracker

        self._publish(self.design)
        for line in self.store.warnings():
            self._warn(line)
        spec = self.design.spec
        tracker = Tracker(self.store, spec.tracking, self._warn, self.include_records, spec.experiment)
        with TrackerAside(tracker, self._warn) as aside:
            if todo or spec.search:
                self._run(todo, outlook, aside)
            if not self.pilot and self._derive(self.design, aside.log):
                compact(self.store)
            left = missing(self.design, self.store)
            drop_spent_checkpoints(self.store)
            aside.finish(complete=not left)
            if self.pilot and left:
                return self._after_pilot(todo, left)
            self._sum_up(left, aside.behind)
            return INCOMPLETE if left else COMPLETE

    @cached_property
    def _code(self) -> dict[str, str]:
        return code_versions()

    @cached_property
    def _data(self) -> dict[str, str]:
        return recorded(self.design.spec, self.design.pool)

    def _warn(self, line: str) -> None:
        self.console.say(f"warning: {line}")

    def _publish(self, design: Design) -> None:
        """With what can be derived by now."""
        data_changes.keep(self.store, design.pool)
        about = {**self._code, "versions": versions(), "data": self._data, SWEPT: search.swept(design.spec)}
        rows = design_rows(design, Derivations(design, self.store.markers()).found)
        self.store.publish(design.hash, design.spec.resolved, rows, about)

    # Running

    def _derive(self, design: Design, log: Callable[[str], None]) -> bool:
        """Derived attacks on what is sealed by now, which then are in the design's table. log: of trials by id."""
        found = derive(design, self.store)
        if found.trials:
            self._publish(design)  # before they are logged: MLflow gets what the design's table has
        for trial_id in found.trials:
            log(trial_id)
        return bool(found.trials)

    def _run(self, todo: Todo, outlook: Outlook, tracker: "TrackerAside") -> None:
        """All of `todo`, or a search to its end. Stopped in place of Refused or Damaged once a trial was sealed."""
        if self.pilot:
            self.console.say(f"pilot: {_name(todo)}")
        else:
            overview.show(self.console, self.design, todo, None if self.in_process else outlook)
        compactor = Compactor(self.store)
        sealed: list[str] = []

        def log(trial_id: str) -> None:
            sealed.append(trial_id)
            tracker.log(trial_id)
            compactor.count()

        def run(design: Design, todo: Todo) -> None:
            self._schedule(design, todo, events(design, todo, log, tracker))

        try:
            if self.design.spec.search:
                self.design = self._search(run, log)
            else:
                run(self.design, todo)
        except (Refused, Damaged) as error:
            if sealed:
                raise Stopped(str(error)) from error
            raise
        tracker.catch_up()
        compact(self.store)

    def _search(self, run: Callable[[Design, Todo], None], log: Callable[[str], None]) -> Design:
        """Batch after batch, on one Ray that starts with the first; the design of all points."""
        from study.run.local_ray import local_ray

        with contextlib.ExitStack() as ray:

            def run_batch(design: Design, todo: Todo) -> None:
                ray.enter_context(local_ray(self.address, design.pool.images.nbytes))
                run(design, todo)
                self._derive(design, log)

            def publish(design: Design) -> None:
                self._publish(design)
                self._derive(design, log)  # what a search that was killed has not

            return search.go_on(self.design, self.store, publish, run_batch)

    def _schedule(self, design: Design, todo: Todo, events: Events) -> None:
        from study.run.progress import Progress

        store = self.store
        if any(work.takes_extractor for works in todo.values() for work in works):
            require_same_network(design, store, feature_network(design, store)[1])
        outlook = Outlook.of(design, store, todo, machines=self.machines)
        expected = cost.expected(outlook.estimate, todo)
        at_once = self.machines.by_memory(Memory.of(design))
        try:
            with Progress(self.console, todo, expected, partial(heartbeat.beat, store)) as progress:
                if self.in_process:
                    run_in_process(design, store, todo, self._code, progress, events)
                else:
                    from study.run.scheduling import schedule

                    schedule(design, store.root, todo, self._code, progress, events, self.address, at_once)
        finally:
            heartbeat.drop(store)

    # The last lines

    def _after_pilot(self, todo: Todo, left: Todo) -> int:
        """Plan again, or name what failed."""
        if any(name in left for name in todo):
            failures.show(self.console, self.store, {name: left[name] for name in todo if name in left})
            return INCOMPLETE
        self.console.say("", f"{_name(todo)} is done. What is left:", "")
        outlook = Outlook.of(self.design, self.store, left, machines=self.machines)
        overview.show(self.console, self.design, left, outlook)
        return COMPLETE

    def _sum_up(self, left: Todo, behind: bool) -> None:
        """behind: whether MLflow lacks something that is sealed."""
        design, store, console = self.design, self.store, self.console
        total, store_done = len(design.every), store.done()
        if design.spec.search:
            search.show(console, store)
        diverged = [trial for trial in design.every if store_done.get(trial.trial_id, Done()).diverged]
        if diverged:
            names = ", ".join(trial.name for trial in diverged[:NAMED]) + (", ..." if len(diverged) > NAMED else "")
            console.say("", f"diverged: {len(diverged)} of {total} trainings, which have no samples to attack: {names}")
        if left:
            missing_trials = sum(map(len, left.values()))
            console.say("", f"incomplete: {missing_trials} of {total} trials lack results; {AGAIN}.")
            failures.show(console, store, left)
            return
        spec = design.spec
        lines = {
            "complete": f"{len(design.trials)} trials, {len(design.controls)} controls",
            "parquet": f"{store.uri}/{{trials,attacks,quality,scores,history}}",
        }
        if spec.tracking:
            lines["mlflow"] = self._mlflow(spec.tracking, behind)
        lines["next"] = shlex.join(["mia-study", "search" if spec.search else "report", store.uri])
        console.say()
        for key, value in lines.items():
            console.say(f"{key + ':':10}{value}")
        for word, judge in {"control": controls, "audit": claims}.items():
            for line in judge.lines(judge.verdicts(store.root, spec.study)):
                console.say(f"{word + ':':10}{line}")

    def _mlflow(self, uri: str, behind: bool) -> str:
        from study.tracking.addresses import public

        if behind:
            experiment = self.design.spec.experiment
            named = ["--experiment", experiment] if experiment else []
            command = shlex.join(["mia-study", "track", self.store.uri, "--tracking", public(uri), *named])
            return f"lacks some; {command} fills it in"
        return shlex.join(["mlflow", "ui", "--backend-store-uri", uri]) if uri.startswith("sqlite:") else public(uri)


def events(design: Design, todo: Todo, log: Callable[[str], None], tracker: "TrackerAside") -> Events:
    """What a scheduler tells: of trajectories by id, of sealed trials by theirs."""
    from study.tracking.run_content import Begun

    def trained(name: str) -> list[Trial]:
        return [work.trial for work in todo[name] if work.train]

    return Events(
        began=lambda name: tracker.begin(lambda: [Begun.of(design, trial) for trial in trained(name)]),
        sealed=log,
        failed=lambda name: tracker.end([trial.trial_id for trial in trained(name)]),
    )


def _name(todo: Todo) -> str:
    """Of the longest trial of the first trajectory."""
    return next(iter(todo.values()))[-1].trial.name
