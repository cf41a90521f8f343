# A fresh machine needs Python 3.11, pip and make. `make sweep` runs the default study, `make test` the tests,
# `make test-long` those that take a second and more, `make test-all` all of them, `make validate` the long checks with
# known answers (half an hour and more), `make docs` the documentation's site, `make test-faults` the soak of injected
# faults, `make test-cluster` a cluster of hosts made on this machine (as root).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Processes that run tests: one a core, 8 at most.
WORKERS ?= auto
STAMP := $(VENV)/.installed
# Modules are compiled once, and not again by each of the processes that sweeps and tests start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: sweep test test-long test-all test-browser test-cluster test-faults validate docs lint lock
.DEFAULT_GOAL := sweep

$(STAMP): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "needs Python 3.11: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

sweep: $(STAMP)
	$(BIN)/mia-study sweep $(ARGS)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --maxprocesses 8 --dist worksteal $(ARGS)

test-long: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --maxprocesses 8 --dist worksteal -m 'long and not slow and not soak' $(ARGS)

test-all: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --maxprocesses 8 --dist worksteal -m 'not soak and not cluster' $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m 'soak or cluster' $(ARGS)

test-browser: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m browser $(ARGS)

test-faults: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m 'soak or not soak' tests/faults tests/hostile/test_counted.py \
		tests/hostile/test_generated.py tests/study/test_buckets.py $(ARGS)

test-cluster: $(STAMP)
	@$(BIN)/python -m tests.cluster.hosts
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m cluster tests/cluster $(ARGS)

validate: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.validation

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/mkdocs build --quiet --strict

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: $(STAMP)
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt
