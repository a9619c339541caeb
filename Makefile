# make demo: train on phantoms. make test: the tests. Both need Python 3.11+ and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow test-all lint

demo: .venv/runtime
	$(BIN)/transfuse train --task hip

test: .venv/test
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

test-slow: .venv/test
	$(BIN)/python -m pytest -n auto --dist loadfile -m slow

test-all: test test-slow

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
