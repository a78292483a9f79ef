# Two commands do all the set-up on a fresh machine: `make quickstart` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup quickstart test lint types format reproduction-page perf perf-learning faults clean

setup: $(VENV)/installed

# Made anew only when the dependencies change; a broken install leaves no marker.
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + "; name one: make PYTHON=python3.11")'
	@echo "Installing into $(VENV) (a minute or two) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
	@echo "Ready: $(BIN)/nbsp-ray --help"

quickstart: setup
	@$(BIN)/nbsp-ray run quickstart

test: lint types
	@$(BIN)/python -m pytest

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy

format: setup
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# From the archives in reproduction/, so that anyone can check that the page is what the data say.
reproduction-page: setup
	@$(BIN)/nbsp-ray claims --archives reproduction --to docs
	@$(BIN)/python reproduction/tuning.py

# The peers that speed is measured against have an environment of their own.
PEERS := .venv-perf

$(PEERS)/installed: perf/requirements-peers.txt
	@echo "Installing the peers into $(PEERS) (a minute or two) ..."
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r perf/requirements-peers.txt
	@touch $@

perf: setup
	@$(MAKE) --no-print-directory $(PEERS)/installed || echo "The peers could not be installed: their rows will say so."
	@$(BIN)/python perf/speed.py $(PERF)

# A toy sweep under faults at random moments: make faults FAULTS="--seed 1 --rounds 5"
faults: setup
	@$(BIN)/python perf/faults.py $(FAULTS)

perf-learning: setup
	@$(BIN)/python perf/learning.py $(PERF)

clean:
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis
