# make demo: train on phantoms. make test: the tests. Both need Python 3.11+ and nothing else.
# make release-check: what a release has to pass besides, an hour or more. make fuzz: damaged files, hours.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow test-all release-check fuzz lint
# a worker a core, and a thread a worker: more threads than cores only wait for each other
PYTEST := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 $(BIN)/python -m pytest
CASES ?= 400
TESTS ?= tests

demo: .venv/runtime
	$(BIN)/transfuse train --task hip

test: .venv/test
	$(PYTEST) -n auto --dist worksteal -m "not slow and not release" --durations 10

test-slow: .venv/test
	$(PYTEST) $(TESTS) -n auto --dist worksteal -m "slow and not release" --durations 10

test-all: test test-slow

release-check: .venv/test
	$(PYTEST) tests tests/release_check.py -n auto --dist worksteal -m release --durations 10

fuzz: .venv/test
	$(BIN)/python -m benchmarks.reliability.fuzz --count $(CASES)

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/runtime: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt -e .
	touch $@

.venv/test: .venv/runtime pyproject.toml
	$(BIN)/python -m pip install --quiet -r requirements.txt -e '.[test]'
	touch $@
