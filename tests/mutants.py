"""Mutants of the lines that keep what is read from being code, secrets from staying, numbers within bounds, and odd
machines from being bugs: each has to make a test fail.

`python -m tests.mutants` runs them all, in a copy of the checkout; with names, those alone. Exit code 1 where a mutant
lives. `tests/test_house.py` looks that every line is still there to be changed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONG_TOO = ("-m", "not soak and not cluster and not slow")
"""`make test` leaves the long ones to `make test-long`; a mutant is killed by either."""


@dataclass(frozen=True)
class Mutant:
    """line of file becomes other; one of the tests, as pytest takes them, has to fail."""

    file: str
    line: str
    other: str
    tests: str

    def apply(self, root: Path) -> None:
        """Change the file below root."""
        path = root / self.file
        text = path.read_text()
        assert text.count(self.line) == 1, f"{self.file}: {self.line!r} is there {text.count(self.line)} times"
        path.write_text(text.replace(self.line, self.other))


LIMITS = "tests/analysis/test_release_answers.py"
NAMES, TEXTS, TERMINAL = "tests/hostile/test_names.py", "tests/hostile/test_texts.py", "tests/study/test_terminal.py"
OPENING, ODD, YAML = (
    "tests/mia_core/test_opening.py",
    "tests/analysis/test_odd_files.py",
    "tests/study/test_hostile_yaml.py",
)
COPIES, LEFT, RAY = "tests/analysis/test_private_copies.py", "tests/left_behind", "tests/study/test_local_ray.py"
SCHEMA, DOCUMENTS, LOCAL_RAY = "study/store/schema.py", "study/spec/documents.py", "study/run/local_ray.py"
PLACES, SHOWN = "study/store/places.py", "analysis/report/shown.py"
BOUNDS, MEMORY = "tests/study/test_bounds.py", "tests/study/test_memory.py"
PRODUCTS, DISTANCES = "mia_core/distance_products.py", "tests/mia_core/test_distances.py"
HARDWARE, DATA_BOUNDS = "tests/mia_core/test_hardware.py", "tests/mia_core/test_data_bounds.py"
FILE_SYSTEMS, ENVIRONMENTS = "tests/study/test_file_systems.py", "tests/study/test_environments.py"
BUCKET_ERRORS, DATA_CHANGES = "tests/study/test_bucket_errors.py", "tests/study/test_data_changes.py"
MLFLOW_RUNS = "tests/study/test_mlflow_runs.py"
STUCK, MIXED, DIVERGED = (
    "tests/study/test_stuck_stores.py",
    "tests/study/test_mixed_results.py",
    "tests/study/test_diverged.py",
)
DONE_AGAIN = "tests/study/test_done_again.py"
MARKED, PASSES, SEALS = "study/store/marked.py", "study/store/passes.py", "study/store/seals.py"
NEW_PASS = "study/store/new_pass.py"
READING, MANIFESTS, TRAJECTORY = "study/store/reading.py", "study/store/manifests.py", "study/run/trajectory.py"
FLAT = "study/store/flat.py"
RUNS, COMPACTING = "study/run/runner.py", "study/store/compacting.py"
NO_NAME = "if not is_column(name):"

MUTANTS = {
    # No code
    "a condition is evaluated": Mutant(
        "analysis/report/conditions.py",
        "mask &= table[name].isin(levels).to_numpy(bool)",
        'mask &= table.eval(f"{name} in {list(levels)}").to_numpy(bool)',
        NAMES,
    ),
    "a condition takes any column": Mutant("analysis/report/conditions.py", NO_NAME, "if False:", NAMES),
    "shown text is not quoted": Mutant(
        SHOWN, "return Shown(repr(plain_value(value)))", "return Shown(f\"'{plain_value(value)}'\")", TEXTS
    ),
    "shown columns are any text": Mutant(SHOWN, NO_NAME, "if False:", f"{TEXTS} {NAMES}"),
    "columns read are not checked": Mutant(SCHEMA, "if not is_column(column):", "if False:", NAMES),
    "words read are not checked": Mutant(SCHEMA, "if text is not None and not holds(text):", "if False:", NAMES),
    "labels of a design are not checked": Mutant(
        SCHEMA, 'checked.append(("label", labels, is_word))', "del labels", NAMES
    ),
    "factors of a design are not checked": Mutant(SCHEMA, NO_NAME, "if False:", NAMES),
    "rows written are not checked": Mutant(
        SCHEMA, "    _require_names(name, table)\n    for field in fields:", "    for field in fields:", NAMES
    ),
    "scores read are not checked": Mutant(
        SCHEMA, 'if name == "scores" and len(table):', "if False:", "tests/hostile/test_scores.py"
    ),
    "a name may end in a newline": Mutant(
        "study/store/names.py", "pattern.fullmatch(text)", "pattern.match(text)", NAMES
    ),
    # Terminals
    "control characters are printed": Mutant("study/terminal.py", "if words.isprintable():", "if True:", TERMINAL),
    "newlines are printed": Mutant(
        "study/terminal.py", 'return plain(text).replace("\\n", _number("\\n"))', "return plain(text)", TERMINAL
    ),
    "markup is taken": Mutant("study/terminal.py", "markup=False", "markup=True", TERMINAL),
    "emoji codes are taken": Mutant("study/terminal.py", "emoji=False", "emoji=True", TERMINAL),
    "cells are printed as they are": Mutant(
        "study/terminal.py", "super().render_str(plain(text), **", "super().render_str(text, **", TERMINAL
    ),
    "log lines are printed as they are": Mutant(
        "study/terminal.py", "Segment(plain(segment.text),", "Segment(segment.text,", TERMINAL
    ),
    "links stay": Mutant(
        "study/terminal.py", "style.update_link(None) if style and style.link else style", "style", TERMINAL
    ),
    # Files
    "files of any size are read": Mutant("mia_core/opening.py", "if size > most:", "if False:", OPENING),
    "files that grow are read": Mutant("mia_core/opening.py", "if len(data) > size:", "if False:", OPENING),
    "what is no file is read": Mutant("mia_core/opening.py", "if kind != stat.S_IFREG:", "if False:", OPENING),
    "pipes are waited for": Mutant("mia_core/opening.py", "os.O_NONBLOCK | ", "", OPENING),
    "links are followed": Mutant("mia_core/opening.py", "(0 if follow else os.O_NOFOLLOW)", "0", OPENING),
    "locks are opened through links": Mutant(
        "mia_core/opening.py", "os.O_CREAT | os.O_NOFOLLOW)", "os.O_CREAT)", OPENING
    ),
    "links out of a study are followed": Mutant(
        PLACES, "if os.path.commonpath([real, self._real]) != self._real:", "if False:", ODD
    ),
    "a link is written through": Mutant(PLACES, 'return self.path(folder) / name', "return self.path(relative)", ODD),
    "outputs are written through links": Mutant(
        "study/store/outputs.py", "if os.path.lexists(path) and", "if False and", ODD
    ),
    "tags are taken": Mutant(DOCUMENTS, "if event.tag is not None:", "if False:", YAML),
    "aliases are taken": Mutant(
        DOCUMENTS, "if isinstance(event, yaml.AliasEvent) or event.anchor is not None:", "if False:", YAML
    ),
    "any number of values is taken": Mutant(DOCUMENTS, "if self._values > VALUES:", "if False:", YAML),
    "any depth is taken": Mutant(DOCUMENTS, "if self._depth == DEPTH:", "if False:", YAML),
    "a key counts twice": Mutant(DOCUMENTS, "if key.value in seen:", "if False:", YAML),
    "numbers of any length are taken": Mutant(
        DOCUMENTS, "if len(node.value) > 20 or abs(int(node.value)) >= LARGEST:", "if False:", YAML
    ),
    # Secrets and private copies
    "folders are open": Mutant(
        "mia_core/private_files.py", "FOLDER, FILE = 0o700, 0o600", "FOLDER, FILE = 0o755, 0o644",
        "tests/mia_core/test_private_files.py",
    ),
    "Ray hands variables on": Mutant("study/run/scheduling.py", "\nENV_VARS_TO_PROPAGATE.clear()\n", "\n", LEFT),
    "workers' libraries write for all": Mutant(
        "study/run/scheduling.py", "    keep_to_owner()\n", "", "tests/study/test_scheduling.py"
    ),
    "Ray listens everywhere": Mutant(
        LOCAL_RAY, "ray_constants.ENABLE_RAY_CLUSTER = False", "ray_constants.ENABLE_RAY_CLUSTER = before", LEFT
    ),
    "Ray asks for no token": Mutant(
        LOCAL_RAY, '"RAY_AUTH_MODE": "token"', '"RAY_AUTH_MODE": "disabled"', f"{RAY} {LEFT}"
    ),
    "Ray's folder stays": Mutant(LOCAL_RAY, "        _remove(folder)\n", "        pass\n", RAY),
    "the token is for all": Mutant(
        LOCAL_RAY, 'private_files.open_file(token, "x")', 'open(token, "x")', RAY
    ),
    "an export has scores": Mutant(
        "study/store/exporting.py", '"attacks", "history")', '"attacks", "history", "scores")', COPIES
    ),
    "an export has hosts": Mutant(
        "study/store/exporting.py", "for key in VERSIONS if key in versions}", "for key in versions}", COPIES
    ),
    "an export has the data's folders": Mutant(
        "study/store/exporting.py", 'value if key == "name" or not _has_words(value) else None', "value", COPIES
    ),
    "an export says nothing of its noise": Mutant(
        "study/store/exporting.py", "if noise_from_seed(copy) else", "if False else", COPIES
    ),
    "an export keeps metadata": Mutant(
        SCHEMA, "return pa.table(table.columns, names=table.column_names)", "return table", COPIES
    ),
    "pages show what a kernel warned of": Mutant(
        "analysis/notebooks/execution.py", 'if output.get("name") != "stderr"', "", COPIES
    ),
    "notebooks always name records": Mutant(
        "analysis/notebooks/execution.py", '"yes" if include_records else ""', '"yes"', COPIES
    ),
    # Bounds
    "any number of trials is built": Mutant("study/spec/bounds.py", "if count > MOST_TRIALS:", "if False:", BOUNDS),
    "any number of levels is built": Mutant(
        "study/spec/bounds.py", "    if count > most:\n", "    if False:\n", BOUNDS,
    ),
    "memory is not counted": Mutant("study/plan/memory.py", "if needed <= memory:", "if True:", MEMORY),
    "parameters beyond numbers are a bug": Mutant(
        "mia_core/targets/target.py", 'if "verflow" not in str(error):', "if True:", MEMORY
    ),
    "memory does not set how many run": Mutant(
        "study/plan/capacity.py", "min(node.cpus, memory.at_once(node.memory))", "node.cpus", MEMORY
    ),
    "another machine times a cluster": Mutant(
        "study/plan/cost.py", "if nodes is not None and len(past.trials):", "if False:", MEMORY
    ),
    "a cluster costs one machine": Mutant(
        "study/plan/cost.py", "[compute.usd_per_hour * machines]", "[compute.usd_per_hour]", MEMORY
    ),
    "a container's quota is not seen": Mutant(
        "mia_core/hardware.py", "*(math.ceil(quota) for quota in _quotas())", "", HARDWARE
    ),
    "a container's memory is not seen": Mutant("mia_core/hardware.py", ", *_memory_limits()]", "]", HARDWARE),
    "groups above are not seen": Mutant("mia_core/hardware.py", "in (own, *own.parents) if", "in (own,) if", HARDWARE),
    "distances are held whole": Mutant(
        "mia_core/metrics/quality.py", "rows = max(1, BLOCK_BYTES //", "rows = max(len(x_MD), BLOCK_BYTES //",
        "tests/mia_core/test_quality.py",
    ),
    "points are not moved by rounding": Mutant(
        PRODUCTS, "(moved_Q + self._moved + math.sqrt(lost))", "math.sqrt(lost)", DISTANCES
    ),
    "products are kept as they are summed": Mutant(
        PRODUCTS, "torch.finfo(torch.bfloat16).eps if self.rounded else 0.0", "0.0", DISTANCES
    ),
    "sums of products have no error": Mutant(
        PRODUCTS, "relative * (norms_Q.sqrt() + self._farthest).square() + lost", "0 * norms_Q + lost", DISTANCES
    ),
    "norms are rounded as coordinates are": Mutant(
        PRODUCTS, "self._parts = 3 if rounded", "self._parts = 1 if rounded", DISTANCES
    ),
    "records beyond memory are resized": Mutant(
        "mia_core/data/pool.py", "if needed > there:", "if False:", DATA_BOUNDS,
    ),
    "records beyond the disk are decoded": Mutant(
        "mia_core/data/cache.py", "if needed > free:", "if False:", DATA_BOUNDS,
    ),
    # Machines
    "hard links are needed": Mutant(
        "study/store/files.py", "if error.errno not in NO_LINKS:", "if True:", FILE_SYSTEMS,
    ),
    "who was replaced says it was first": Mutant(
        "study/store/files.py", "return path.read_bytes() == data", "return True", FILE_SYSTEMS
    ),
    "the probe creates nothing": Mutant(PLACES, "if not sound:", "if False:", FILE_SYSTEMS),
    "a missing lock is another sweep": Mutant(
        PLACES, "except BlockingIOError:", "except OSError:", FILE_SYSTEMS
    ),
    "folders have to be synced": Mutant(
        "study/store/files.py", "if error.errno not in NO_SYNC:", "if True:", FILE_SYSTEMS,
    ),
    "a closed terminal ends a command anyhow": Mutant(
        "study/signals.py", "signal.signal(signal.SIGHUP, _interrupt)", "pass", ENVIRONMENTS
    ),
    "a closed terminal ends what runs under nohup": Mutant(
        "study/signals.py", "if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:", "if True:", ENVIRONMENTS
    ),
    "a tilde is a folder's name": Mutant(
        "study/spec/locations.py", "return expanded_text(given)", "return given", ENVIRONMENTS,
    ),
    "a tilde on the command line is one": Mutant(
        "study/cli/main.py", 'type(given)(expanded_text(str(given), "all"))', "given", ENVIRONMENTS
    ),
    "a run is anybody's whose trial it is": Mutant(
        "study/tracking/ownership.py", "tags[STORE] == store.id and tags.get(RESULTS) == place_of(store):", "True:",
        MLFLOW_RUNS,
    ),
    "a trial without an id is the study's own run": Mutant(
        "study/tracking/ownership.py", "or (tags[KIND] == TRIAL_RUN) != bool(tags.get(TRIAL_ID)):", "or False:",
        MLFLOW_RUNS,
    ),
    "runs of an earlier version are anybody's": Mutant(
        "study/tracking/ownership.py", "in sealed and run.data.tags.get(PARENT) in above]", "in sealed]", MLFLOW_RUNS,
    ),
    "artifacts cost the run": Mutant(
        "study/tracking/tracker.py", "client.get_run(run_id)  # a server", "raise  # a server",
        MLFLOW_RUNS,
    ),
    "the exit waits for MLflow": Mutant(
        "study/tracking/aside.py", "self._tracker.until = time.monotonic() + seconds", "pass", MLFLOW_RUNS,
    ),
    "a level has no curve before it": Mutant(
        "study/tracking/run_content.py", 'sorted(levels), ("history",)', '[row["trial_id"]], ("history",)', MLFLOW_RUNS,
    ),
    "one attack never timed hides all time": Mutant(
        "study/plan/cost.py", "if TRAINING in self.seconds.unknown:", "if self.seconds.unknown:",
        "tests/study/test_cost.py",
    ),
    "an export has the rows of every design": Mutant(
        "study/store/flat.py", "read(store.root, store.study, table)", "read(store.root, store.study, table, all=True)",
        "tests/study/test_flat.py",
    ),
    "a folder is taken for tracking": Mutant(
        "study/spec/locations.py", 'if scheme in ("", "file") and', "if False and", ENVIRONMENTS
    ),
    "no home is a bug": Mutant("study/machine.py", "if not found.is_absolute():", "if False:", ENVIRONMENTS),
    "any number of files is opened": Mutant(
        "study/machine.py", "return min(hardware.cpus(), allowed)", "return hardware.cpus()", ENVIRONMENTS,
    ),
    "an address of nobody is waited for": Mutant(
        "study/run/joining.py", "timeout=SECONDS)", "timeout=60)", "tests/study/test_joining.py"
    ),
    "an expired login is a denial": Mutant("study/store/buckets.py", "if code in EXPIRED:", "if False:", BUCKET_ERRORS),
    "a skewed clock is a denial": Mutant(
        "study/store/buckets.py", "if code in SKEWED or", "if False and", BUCKET_ERRORS,
    ),
    "a login by SSO is a network": Mutant(
        "study/store/buckets.py", "if isinstance(error, logins):", "if False:", BUCKET_ERRORS,
    ),
    "changed data are not named": Mutant("study/plan/outdated.py", "!= design.pool.digest:", "== '':", DATA_CHANGES),
    "another order is another record": Mutant(
        "study/plan/data_changes.py", "if not np.array_equal(then, now):", "if False:", DATA_CHANGES
    ),
    "odd values of cluster files are a bug": Mutant(
        "study/run/cluster.py", "if odd := list(_odd(written)):", "if odd := []:", "tests/study/test_cluster_check.py"
    ),
    # Stores that nothing can free any more
    "damaged markers are never set aside": Mutant(
        MARKED, "in trained and trial in wanted and held[trial] >= set(wanted[trial])", "in ()", STUCK
    ),
    "any damaged marker is set aside": Mutant(MARKED, "and held[trial] >= set(wanted[trial])", "", STUCK),
    "gc keeps damaged markers": Mutant(
        "study/store/collecting.py", 'if own_names.own("done", [entry.name]):', "if False:", STUCK
    ),
    "copies count as markers": Mutant(
        PASSES, 'for file in own_names.own("done", files)]', 'for file in files if file.endswith(".json")]', STUCK
    ),
    "compactions outlive the training that they have": Mutant(
        MARKED, "elif trained.get(trial_of(name), name) not in passes:", "elif False:", STUCK
    ),
    "a compaction forgets passes that it has alone": Mutant(
        COMPACTING, "passes = _alone(store, marked) | _nonces(markers)", "passes = _nonces(markers)", STUCK
    ),
    "damaged compactions stay": Mutant(
        COMPACTING, "        _drop_others(store, name)\n        return len(passes)\n", "        return len(passes)\n",
        STUCK,
    ),
    "what is gone since it was listed raises": Mutant(
        PLACES, "found = item.stat(follow_symlinks=False)\n    except FileNotFoundError:",
        "found = item.stat(follow_symlinks=False)\n    except ZeroDivisionError:", STUCK,
    ),
    "checkpoints of the highest steps are kept": Mutant(
        PASSES, "key=lambda entry: (entry.modified, entry.name)", "key=lambda entry: entry.name", STUCK
    ),
    "a reader keeps a driver from the lock": Mutant(PLACES, "if time.monotonic() > until:", "if True:", STUCK),
    "truth values are no column": Mutant(
        SCHEMA, "columns = {**columns, **{column: _plain(columns[column]) for column in extra}}", "pass", STUCK
    ),
    "numbers beside texts are no column": Mutant(
        SCHEMA, "if field.name in texts and pa.types.is_floating(field.type):", "if False:", STUCK
    ),
    "a diverged training is attacked": Mutant(
        RUNS, "if before is not None or trajectory.diverged:", "if False:", DIVERGED
    ),
    "a diverged training is gone on with": Mutant(
        RUNS, "before = None if begun else self._diverged_before(trial)", "before = None", DIVERGED
    ),
    "targets of one name offer the same": Mutant(
        "study/design/wanted.py", "key = entry.label, target.facts, queries",
        "key = entry.label, target.name, queries", "tests/study/test_diffusion_study.py",
    ),
    "any time is planned": Mutant(
        "mia_core/attacks/attack.py", "model.timesteps is not None and (latest", "False and (latest",
        "tests/study/test_diffusion_study.py",
    ),
    "weights that nothing attacks are released": Mutant(
        "mia_core/releases/released_weights.py", 'if any(name.startswith(f"{network}.") for name in tensors):',
        "if False:", "tests/mia_core/test_releases.py",
    ),
    "all variations are one": Mutant(
        "mia_core/attacks/rediffuse.py", 'rng.child("variation", number)', 'rng.child("variation")',
        "tests/mia_core/test_diffusion_attacks.py",
    ),
    "odd losses are no divergence": Mutant(
        TRAJECTORY, "self.diverged = _has_odd_loss(trainer) or (", "self.diverged = False and (", DIVERGED
    ),
    "odd weights are no divergence": Mutant(
        TRAJECTORY, "torch.isfinite(tensor).all()) for tensor", "True) for tensor", DIVERGED
    ),
    "a diverged target is not kept": Mutant(
        RUNS, "            content.add_target(trajectory.trainer.target.state_dict())\n", "", DIVERGED
    ),
    # Results that are mixed
    "a training is sealed under its work": Mutant(
        NEW_PASS, "own_names.TRAINING if train else content_id(work)", "content_id(work)", STUCK
    ),
    "a training is sealed beside an earlier version's": Mutant(
        NEW_PASS, "if (train or training) and counts != training:", "if False:", STUCK
    ),
    "two trainings count": Mutant(
        MARKED, 'if marker["work"]["train"] and first[marker["trial_id"]] != name', "if False", STUCK
    ),
    "compactions of two trainings are read": Mutant(
        MARKED, "(self.aside.keys() | self.outdated.keys()) & passes.keys()", "self.outdated.keys() & passes.keys()",
        STUCK
    ),
    "rows of two attempts are read twice": Mutant(
        READING, "complete(_decoded(_each_once(parts, table)), table)", "complete(_decoded(joined(parts)), table)",
        STUCK
    ),
    "a second attempt goes on": Mutant(
        "study/run/pass_content.py",
        "if self.work.train or self._store.training(self.work.trial.trial_id) != self._training:", "if False:", STUCK
    ),
    "two networks in a column are read": Mutant(
        READING, 'if "quality" in tables and not all:', "if False:", MIXED
    ),
    "another network measures": Mutant("study/run/feature_spaces.py", "    if others:\n", "    if False:\n", MIXED),
    "check sees no network": Mutant(
        "study/store/verifying.py", "if self._quality and (what :=", "if False and (what :=", MIXED
    ),
    "labels read as levels": Mutant(
        "study/spec/attack_entries.py", "if stem != label and stem in labels:", "if False:", MIXED
    ),
    "rows of other trials are read": Mutant(
        MANIFESTS, 'if trials - {marker["trial_id"]}:', "if False:", MIXED
    ),
    "rows of other work are read": Mutant(
        MANIFESTS, "if column in KEYS[name] and set(", "if False and set(", MIXED
    ),
    "check does not look whose rows are": Mutant(
        "study/store/verifying.py",
        "pass_table(place, marker, relative) if marker else sealed_table(place, relative, seal)",
        "sealed_table(place, relative, seal)", MIXED,
    ),
    "rows count twice": Mutant(SCHEMA, 'raise pa.ArrowInvalid("has a row twice")', "return", MIXED),
    "queries count twice": Mutant(SCHEMA, "(query[1:] > query[:-1])", "(query[1:] >= query[:-1])", MIXED),
    "numbers may be out of range": Mutant(
        SCHEMA, 'raise pa.ArrowInvalid(f"has a {column} out of range")', "pass", MIXED
    ),
    "numbers may be infinite": Mutant(
        SCHEMA, 'raise pa.ArrowInvalid(f"has a {column} that is no finite number")', "pass", MIXED
    ),
    "markers need no sha256": Mutant(
        SEALS, '    if "format" in marker:\n        _require(sealed, "has no sha256")', '    if "format" in marker:',
        STUCK
    ),
    "markers may be sealed at any text": Mutant(
        SEALS, '    _require(_is_moment(marker["sealed_at"]), "was sealed at no time")\n', "", MIXED
    ),
    "states of other attempts are a marker's": Mutant(
        SEALS, "state is not None and state[1] in (None, nonce)", "state is not None", MIXED
    ),
    "manifests may have any passes": Mutant(
        SEALS, '_require(isinstance(passes, (dict, list)) and all(map(is_word, passes)), "has odd passes")', "pass",
        MIXED
    ),
    "specs may lack sections": Mutant(
        SEALS, '_require(section in spec or section in later, f"lacks the section {section}")', "pass", MIXED
    ),
    # Paths, modules and cells of strangers
    "a setting may name any variable": Mutant(
        "mia_core/paths.py", 'if variables == "harmless" and not _is_harmless(name, os.environ[name]):', "if False:",
        "tests/mia_core/test_paths.py"
    ),
    "relative folders are harmless": Mutant(
        "mia_core/paths.py", 'return value.startswith("/") and Path(value).is_dir()', "return Path(value).is_dir()",
        "tests/mia_core/test_paths.py"
    ),
    "python -m keeps the working folder": Mutant(
        "study/search_path.py", "del sys.path[0]", "pass", "tests/study/test_search_path.py"
    ),
    "who asks for a cluster has the working folder": Mutant(
        "study/run/joining.py", '[sys.executable, "-P", "-c", ASK, where]', '[sys.executable, "-c", ASK, where]',
        "tests/study/test_search_path.py"
    ),
    "workers have the working folder": Mutant(
        LOCAL_RAY, "self._py_driver_sys_path = folders_of_packages()", "pass",
        f"{LEFT}/test_modes.py"
    ),
    "an earlier export stays": Mutant(FLAT, "path.unlink()", "pass", "tests/study/test_flat.py"),
    "cells are formulas": Mutant(
        "study/store/spreadsheets.py", 'else f"\'{cell}"', "else cell", "tests/study/test_flat.py"
    ),
    "a carriage return ends a row": Mutant(
        "study/store/spreadsheets.py", 'lineterminator="\\r\\n"', 'lineterminator="\\n"', "tests/study/test_flat.py"
    ),
    "numbers of JSON have no bound": Mutant(
        "mia_core/plain_json.py", "return value if math.isfinite(value) else none(digits)", "return value",
        "tests/study/test_documents.py",
    ),
    "a trial has any number of scores": Mutant(
        "study/store/manifests.py", "0 if row[\"skipped\"] is not None else row[\"queries\"]", "None",
        "tests/hostile/test_scores.py",
    ),
    "noise has no bound": Mutant(
        "mia_core/defenses/dp_sgd.py", "Annotated[float, Ge(0), Le(MOST_NOISE)]", "Annotated[float, Ge(0)]",
        "tests/mia_core/test_dp_sgd.py",
    ),
    "who enters hosts is taken for a mapping": Mutant(
        "study/run/cluster.py", "if not isinstance(auth, Mapping):  # which", "if False:  # which",
        "tests/study/test_cluster_check.py",
    ),
    "curves of private trainings go public": Mutant(
        "study/store/exporting.py", "        if private:", "        if False:",
        COPIES
    ),
    "copies are calibrated record by record": Mutant(
        "mia_core/metrics/copies.py", "np.unique(persons_U, return_inverse=True)",
        "np.unique(np.arange(len(unseen_UD)), return_inverse=True)", "tests/mia_core/test_copies.py"
    ),
    "copies by person have the ids of those by record": Mutant(
        "study/design/identity.py", "copies.BY_PERSON if by_person and name in copies.COPIES else MEASURES[name]",
        "MEASURES[name]", "tests/study/test_copied_members.py"
    ),
    "passes on an earlier training count": Mutant(
        MARKED, 'return bool(marker["training"] != training["nonce"])', "return False", DONE_AGAIN
    ),
    "old passes on an earlier training count": Mutant(
        MARKED, 'return "training" in training and bool(', "return False and bool(", DONE_AGAIN
    ),
    "compactions of an earlier training are believed": Mutant(
        MARKED, "(self.aside.keys() | self.outdated.keys()) & passes.keys()", "self.aside.keys() & passes.keys()",
        DONE_AGAIN
    ),
    "what attacked a training that is gone is done": Mutant(
        PASSES, 'if marker.get("training") not in (None, found.trainings.get(marker["trial_id"])):', "if False:",
        DONE_AGAIN
    ),
    "an outdated marker keeps its name": Mutant(
        NEW_PASS, 'return name in self.store.marked([trial_id]).outdated', "return False", DONE_AGAIN
    ),
    "whoever is second replaces a training": Mutant(
        NEW_PASS, "if (train or training) and counts != training:", "if train and training is None and counts:",
        DONE_AGAIN
    ),
    "markers may name any training": Mutant(
        SEALS, '_require(not work["train"] or training in (None, nonce), "is of another training than its own")',
        "pass", DONE_AGAIN
    ),
    "a private target that was not kept is attacked by half": Mutant(
        "study/design/work.py", "if lost and trial.cell.arm.guaranteed and (attacks or measures):", "if False:",
        DONE_AGAIN
    ),
    # Exit
    "Arrow reads memory of Python": Mutant(
        SCHEMA, "buffer = _in_arrow_memory(data)", "buffer = pa.py_buffer(data)", "tests/faults/test_ending.py"
    ),
    # Derived attacks
    "a replicate's own coins enter its derived scores": Mutant(
        "mia_core/derived/evidence.py",
        "~np.eye(replicates, dtype=bool)",
        "np.ones((replicates, replicates), dtype=bool)",
        "tests/mia_core/test_derived_attacks.py",
    ),
    "replicates of an ensemble learn from each other": Mutant(
        "mia_core/derived/derived_attack.py",
        "(one_way if cls.learns_direction else all_others)(replicates)",
        "all_others(replicates)",
        "tests/mia_core/test_derived_attacks.py",
    ),
    "the first and the third replicate learn from each other": Mutant(
        "mia_core/derived/evidence.py",
        "uses[0, 2], uses[2, 0] = True, False",
        "uses[0, 2] = True",
        "tests/mia_core/test_derived_attacks.py",
    ),
    "further replicates change rows of an ensemble": Mutant(
        "study/design/derivations.py",
        "entry.choice.cls.needs_reference and not entry.choice.cls.learns_direction",
        "entry.choice.cls.needs_reference",
        "tests/study/test_deriving.py",
    ),
    "quantiles are fitted on judged records": Mutant(
        "study/run/deriving.py", "never_member=~of.judged", "never_member=of.judged", "tests/study/test_deriving.py"
    ),
    "single records are told by scores that their own coins are in": Mutant(
        "analysis/stats/record_panel.py",
        "bases[0] if len(bases) == 1 and takes_replicates(data.attack(attack)) else attack",
        "attack",
        "tests/analysis/test_derived_scores.py",
    ),
    "LiRA may learn that members score lower": Mutant(
        "mia_core/derived/lira.py",
        "np.maximum(inside.overall - outside.overall, LEAST_SHIFT)",
        "inside.overall - outside.overall",
        "tests/mia_core/test_derived_attacks.py",
    ),
    "a derived id does not know the scores used": Mutant(
        "study/design/identity.py", ', "seals": list(seals)}', "}", "tests/study/test_deriving.py"
    ),
    "derived scores are frozen where coins are drawn again": Mutant(
        "analysis/stats/redrawn.py",
        "if takes_replicates(data.attack(attack))",
        "if False",
        "tests/analysis/test_derived_scores.py",
    ),
    "an audit counts scores that later replicates calibrated": Mutant(
        "study/verdicts/forward.py", "Evidence.forward(", "Evidence.leave_one_out(", "tests/study/test_deriving.py"
    ),
    # Limits are not said to be kept without their bounds
    "one attack below a limit is enough": Mutant(
        "mia_core/metrics/decisions.py",
        "if values and all(value.high is not None and value.high < limit for value in values):",
        "if values and any(value.high is not None and value.high < limit for value in values):",
        "tests/mia_core/test_release_decisions.py",
    ),
    "lower bounds are not corrected": Mutant(
        "mia_core/metrics/attack_bounds.py", "return alpha / (STATEMENTS * attacks + OF_COPIES)", "return alpha", LIMITS
    ),
    "any holdout will do": Mutant(
        "analysis/release/gates.py", 'if evidence.given["holdout"] != "random":', "if False:", LIMITS
    ),
    "a sample that equals a member needs a holdout": Mutant(
        "analysis/release/answers.py",
        "decision = decide([equal], limit)",
        "decision = Decision.CANNOT_BE_SHOWN",
        LIMITS,
    ),
    "all members that a sample equals are counted": Mutant(
        "mia_core/metrics/exact_copies.py",
        "places.setdefault(image.tobytes(), []).append(place)",
        "places[image.tobytes()] = [place]",
        "tests/mia_core/test_exact_copies.py",
    ),
    # Folders and releases, as newcomers found them
    "what a window clips is not counted": Mutant(
        "mia_core/data/decoding.py",
        "int((values < low).sum()), int((values > high).sum())",
        "0, 0",
        "tests/mia_core/test_messy_folder.py",
    ),
    "on_unreadable leaves out what a table does not name": Mutant(
        "mia_core/data/images.py",
        'if listing.unmatched and self.config.on_unmatched == "refuse":',
        'if listing.unmatched and self.config.on_unreadable == "refuse":',
        "tests/mia_core/test_image_folder.py",
    ),
    "near-copies between folders stay": Mutant(
        "mia_core/data/given_folders.py",
        'if self.config.near_copies == "leave_out":',
        "if False:",
        "tests/mia_core/test_given_folders.py",
    ),
    "a size of records that no network can halve": Mutant(
        "mia_core/data/given_folders.py",
        "return size // step * step",
        "return size",
        "tests/mia_core/test_given_folders.py",
    ),
    "persons that init was told of do not fill its sizes": Mutant(
        "study/plan/starting.py",
        "known = -(-max(2, -(-small // 10)) // largest) * largest",
        "known = max(2, -(-small // 10))",
        "tests/study/test_starting.py",
    ),
    "a refused release leaves its folder": Mutant(
        "study/cli/release_command.py", "if code == REFUSED:", "if False:", "tests/study/test_release_command.py"
    ),
    "samples may be the records": Mutant(
        "study/spec/release_study.py",
        "    _require_other_folders(release, data)\n",
        "",
        "tests/study/test_release_command.py",
    ),
    "an interval beyond a limit keeps to it": Mutant(
        "analysis/stats/tradeoff.py",
        "ALPHA / (2 * max(1, len(confidence)))",
        "ALPHA / max(1, len(confidence))",
        "tests/analysis/test_tradeoff.py",
    ),
    "non-members that equal members are left out": Mutant(
        "mia_core/data/given_folders.py",
        "        if part[other] < part[record]:",
        "        if part[other] > part[record]:",
        "tests/mia_core/test_given_folders.py",
    ),
    "an ONNX model's weights in other files are not read": Mutant(
        "mia_core/onnx_files.py",
        "    if tensor.external_data or tensor.data_location == 1:",
        "    if False:",
        "tests/mia_core/test_releases.py",
    ),
    "a network of images in another range sees its noise in proportion": Mutant(
        "mia_core/releases/declared_noise.py",
        "return abar / (abar + (1 - abar) / self.half**2)",
        "return abar",
        "tests/mia_core/test_denoiser_release.py",
    ),
    "a wrong prediction of a denoiser is refused": Mutant(
        "mia_core/releases/denoiser_checks.py",
        "if own > BETTER * least:",
        "if False:",
        "tests/mia_core/test_denoiser_release.py",
    ),
    "a denoiser gives noise alone back": Mutant(
        "mia_core/releases/denoiser_checks.py",
        'if (part > 0.5) != (self.prediction == "epsilon"):',
        'if False:',
        "tests/mia_core/test_denoiser_release.py",
    ),
    "a denoiser in training mode is refused": Mutant(
        "mia_core/releases/denoiser_network.py",
        "if float((alone - found[:1]).abs().max()) > ONE_ANOTHER * float(found.abs().max()):",
        "if False:",
        "tests/mia_core/test_denoiser_release.py",
    ),
    "ids depend on the declared schedule": Mutant(
        "mia_core/releases/onnx_denoiser.py",
        '"alpha_bar": array_digest(config.alpha_bar.numpy()),',
        '"alpha_bar": 0,',
        "tests/mia_core/test_denoiser_release.py",
    ),
    "learned variances are no noise": Mutant(
        "mia_core/releases/denoiser_network.py",
        "return torch.from_numpy(found[:, :channels])",
        "return torch.from_numpy(found[:, -channels:])",
        "tests/mia_core/test_denoiser_release.py",
    ),
    "a list of alpha_bar falls": Mutant(
        "mia_core/releases/declared_noise.py",
        "if not 0 < value < previous:",
        "if not 0 < value < 1:",
        "tests/mia_core/test_denoiser_release.py",
    ),
    "a study file's function is run by --allow-code alone": Mutant(
        "study/spec/release_study.py",
        "    if release.cls.runs_code and not runs_code:",
        "    if False:",
        "tests/study/test_release_study.py",
    ),
    "ids of a release depend on its content": Mutant(
        "study/design/making.py",
        '        made_of = {"release": given.release.identity}',
        '        made_of = {"release": given.release.name}',
        "tests/study/test_release_study.py",
    ),
    "a likelihood has the variance of the default": Mutant(
        "mia_core/attacks/autoencoding.py", "return view.deviation**2", "return 0.09",
        "tests/mia_core/test_vae_attacks.py",
    ),
    "a model without a likelihood is planned": Mutant(
        "mia_core/attacks/autoencoding.py", "model.deviation is None and self.config.variance is None", "False",
        "tests/study/test_diffusion_study.py",
    ),
    "the growth of a loss is not relative": Mutant(
        "mia_core/attacks/pfami_vae.py", "- own) / own for", "- own) for",
        "tests/mia_core/test_vae_attacks.py",
    ),
    "any number of groups is planned": Mutant(
        "mia_core/attacks/gradient_norms.py", "model.tensors < self.config.groups", "False",
        "tests/study/test_diffusion_study.py",
    ),
    "any surrogate is planned": Mutant(
        "mia_core/attacks/surrogate.py", "        shaped(surrogate, image_shape)\n",
        "        pass\n", "tests/study/test_diffusion_study.py",
    ),
    "one reference record is enough": Mutant(
        "study/design/wanted.py", "self._different(records) < attack.fewest", "False",
        "tests/study/test_diffusion_study.py",
    ),
    "a release is tried at times of 1,000": Mutant(
        "study/design/release_fitted.py", "if spec.default_attacks and", "if False and",
        "tests/study/test_release_study.py",
    ),
    "settings that a study file gives a release are changed": Mutant(
        "study/design/release_fitted.py", "if spec.default_attacks and", "if",
        "tests/study/test_release_study.py",
    ),
    "settings of a training that nothing reads are taken": Mutant(
        "mia_core/training.py", "if getattr(self, name) != getattr(TrainingConfig, name):", "if False:",
        "tests/mia_core/test_training.py",
    ),
    "settings of a study that nothing reads are taken": Mutant(
        "study/spec/study_file.py", "    require_read_training(spec.factors.targets", "    (spec.factors.targets",
        "tests/study/test_study_file.py",
    ),
    "errors of onnxruntime leave as they are": Mutant(
        "mia_core/onnx_files.py",
        "    except Exception as error:  # of onnxruntime, which has classes for each code\n        shapes",
        "    except ZeroDivisionError as error:\n        shapes", "tests/mia_core/test_releases.py",
    ),
    "a picture of epsilons needs an attack on a private arm": Mutant(
        "analysis/study_data.py",
        '        return bool(self.attack(attack)["epsilon"].notna().any())',
        "        return self.private",
        "tests/analysis/test_tables.py",
    ),
    "larger units do not wait": Mutant(
        "mia_core/data/ordered_units.py",
        "if self.sizes.max(initial=0) <= max(1, start // (TENTH - 1)):",
        "if self.sizes.max(initial=0) <= max(1, start):",
        "tests/mia_core/test_splits.py",
    ),
}  # fmt: skip


def copy(folder: Path) -> None:
    """The files of the checkout that git knows, or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def killed(mutant: Mutant, folder: Path) -> bool:
    """Whether a test fails with the mutant in place, which is taken away again. RuntimeError where none ran."""
    before = (folder / mutant.file).read_bytes()
    mutant.apply(folder)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *LONG_TOO, *mutant.tests.split()]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    finally:
        (folder / mutant.file).write_bytes(before)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"no test ran: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def main(names: list[str]) -> int:
    """Run mutants, and print a line for each."""
    alive = 0
    with tempfile.TemporaryDirectory() as folder:
        copy(Path(folder))
        for name in names or MUTANTS:
            started = time.monotonic()
            dead = killed(MUTANTS[name], Path(folder))
            alive += not dead
            print(f"{'killed' if dead else 'LIVES '} {time.monotonic() - started:5.0f} s  {name}", flush=True)
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
