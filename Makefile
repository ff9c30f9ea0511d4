# Every target does its own set-up: a virtual environment in .venv, installed from pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
# One thread in each of the tests' processes: more than there are cores only wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: study test test-all bench lint types format clean

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("convlens needs Python >= 3.11, this is " + sys.version.split()[0] + "; set PYTHON=python3.11 or newer" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

study: .venv/.installed
	$(BIN)/convlens task=study

test: .venv/.installed lint types
	$(PYTEST) -m 'not slow'

test-all: .venv/.installed lint types
	$(PYTEST)

bench: .venv/.installed
	$(BIN)/python -m pip install --quiet -e '.[dev,bench]'
	$(BIN)/python -m tests.bench

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed
	$(BIN)/mypy

format: .venv/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build dist
