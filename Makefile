# make demo: train on phantoms. make test: the tests. Both need Python 3.11+ and nothing else.
# make release-check: what a release has to pass besides, an hour or more. make fuzz: damaged files, hours.
PYTHON ?= python3
BIN := .venv/bin
# Python compiles a module when it is first imported, and keeps that; most of those installed never
# are. pip takes this one the other way round: 0 is to compile nothing.
export PIP_NO_COMPILE := 0
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow test-all test-jax test-torch release-check locks sbom fuzz docs lint
# a worker more than cores, since some tests wait for a server or a browser, and a thread a worker
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 $(BIN)/python -m pytest
CASES ?= 400
TESTS ?= tests
ANY_BACKEND := tests/test_backends.py tests/weights/test_official.py tests/layers \
	$(patsubst %,tests/model/test_%.py,losses targets transfuse unet) tests/inference/test_predict.py

demo: .venv/compiled
	$(BIN)/transfuse train --task hip

test: .venv/test
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow and not release" --durations 10

test-slow: .venv/test
	$(PYTEST) $(TESTS) -n $(WORKERS) --dist worksteal -m "slow and not release" --durations 10

# both in one go: half an hour on two slow cores
test-all: .venv/test
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not release" --durations 20

# model, weights, losses, training, resume, prediction on another backend of Keras; what JAX compiled is
# kept for the other workers
test-jax: export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/.venv/jax
test-jax: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0
test-torch: ANY_BACKEND += tests/training/test_torchrun.py
test-jax test-torch: .venv/test
	KERAS_BACKEND=$(subst test-,,$@) $(PYTEST) $(ANY_BACKEND) -n $(WORKERS) --dist worksteal -m "not release"

release-check: .venv/test .venv/release/made
	$(PYTEST) tests tests/release_check.py -n $(WORKERS) --dist worksteal -m release --durations 10

# the oldest and the newest versions that pyproject.toml allows; release_check.py tries them
LOCK = .venv/release/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --upgrade \
	$(patsubst %,--extra %,tensorflow onnx openvino dicom itk serve) \
	--quiet --no-annotate --custom-compile-command "make locks"
locks: .venv/release/made
	$(LOCK) --resolution lowest-direct --output-file requirements/oldest.txt
	$(LOCK) --resolution highest --output-file requirements/newest.txt

# what an installation consists of, with versions and licences, in the form of CycloneDX
sbom: .venv/newest/made
	mkdir -p dist
	.venv/release/bin/cyclonedx-py environment .venv/newest/bin/python --pyproject pyproject.toml \
		--output-file dist/sbom.json

fuzz: .venv/test
	$(BIN)/python -m benchmarks.reliability.fuzz --count $(CASES)

docs: .venv/test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/runtime: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) has no ensurepip, which .venv needs:" \
		"apt-get install python3-venv (Debian, Ubuntu), or make PYTHON=another-python" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip # pip of 2023 takes nearly twice as long
	$(BIN)/python -m pip install --quiet -r requirements.txt -e .
	touch $@

# compiles what each command and most tests import
test test-slow test-all: .venv/compiled
.venv/compiled: .venv/runtime
	$(BIN)/python -c 'import keras, matplotlib.pyplot, scipy.stats, sklearn' 2>/dev/null || true
	touch $@

.venv/test: .venv/runtime pyproject.toml requirements/clients.txt
	$(BIN)/python -m pip install --quiet -r requirements.txt -e '.[test,docs]'
	$(PYTHON) -m venv --clear --without-pip .venv/clients
	$(BIN)/python -m pip --python .venv/clients install --quiet --no-deps -r requirements/clients.txt
	touch $@

.venv/release/made: requirements/release.txt .venv/runtime
	$(PYTHON) -m venv --clear .venv/release
	.venv/release/bin/python -m pip install --quiet -r $<
	touch $@

.venv/newest/made: requirements/newest.txt .venv/release/made
	.venv/release/bin/uv venv --quiet --clear --python $(PYTHON) .venv/newest
	.venv/release/bin/uv pip install --quiet --python .venv/newest -r $<
	touch $@
