# Every target does its own set-up: a virtual environment in .venv, installed from pyproject.toml. Its stamps carry a
# hash of pyproject.toml, so that a checkout, which changes times, installs nothing again.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
HASH := $(shell cksum < pyproject.toml | tr -d ' ')
READY := .venv/.installed-dev-$(HASH)
READY_ALL := .venv/.installed-dev-all-$(HASH)
# One thread in each of the tests' processes: more threads than cores only wait for each other. Bytecode is kept for the
# processes that tests start.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# Tests of what computes; commands, reports and run directories call it.
COMPUTING := $(addprefix tests/,analysis data deconv figures metrics nets ops stats systems transfer)
INSTALL := $(BIN)/python -m pip install --quiet

.PHONY: study test test-essential test-all faults bench lint types format map constraints clean

$(READY) $(READY_ALL): .venv/.installed-%-$(HASH):
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "convlens needs Python 3.11 to 3.13, this is " + sys.version.split()[0] + "; give PYTHON=python3.13 or another of these")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) --upgrade pip
	$(INSTALL) -e '.[$*]'
	@rm -f .venv/.installed*
	@touch $@ .venv/.installed-dev-$(HASH)

study: $(READY)
	$(BIN)/convlens task=study

# without the checks of shapes and types at each call, which double the time
test: $(READY) lint types
	$(PYTEST) -m 'not slow' --jaxtyping-packages=

# what guards against what `make test` does not: killed processes, several processes, the installed wheel, wrong shapes
test-essential: $(READY)
	$(PYTEST) -m essential
	$(PYTEST) -m 'not slow' $(COMPUTING)

# without what `make faults` runs
test-all: $(READY_ALL) lint types
	$(PYTEST) --ignore=tests/faults

# commands that are killed and interrupted, full and read-only disks, little memory, damaged files: about half an hour
faults: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults
	$(PYTEST) tests/faults tests/tasks/test_damaged_files.py tests/io/test_damage.py tests/runs/test_replacement.py

bench: $(READY)
	$(INSTALL) -e '.[dev,bench]'
	$(BIN)/python -m tests.bench

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# writes the lists of modules and claims in src/convlens/README.md and src/convlens/stats/README.md
map: $(READY)
	$(BIN)/python -m tests.module_map --write
	$(BIN)/python -m tests.claims_list --write

# the versions of .venv, with which the recorded numbers can be reproduced
constraints: $(READY_ALL)
	$(BIN)/python -m tests.constraints > .github/constraints.txt

clean:
	rm -rf .venv build dist
