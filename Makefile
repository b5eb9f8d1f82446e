# Every task has one name, and CI calls these names only.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
FTOPS := $(BIN)/ftops

.PHONY: apply test lint bench engine clean

apply: $(FTOPS) engine ## Do what specs/ says: the example, from data to models and the verdict of an experiment
	$(FTOPS) apply --yes

test: $(FTOPS) engine ## Every test, with the real components
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

lint: $(FTOPS) ## Format, types, imports, workflows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zizmor --offline --quiet .github/workflows
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

bench: $(FTOPS) engine ## Print how ftops does beside its peers
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/plan.py
	$(BIN)/python benchmarks/assignment.py
	$(BIN)/python benchmarks/logs.py
	$(BIN)/python benchmarks/data.py $(if $(PEERS),--peers $(PEERS))
	$(BIN)/python benchmarks/experiments.py
	$(BIN)/python benchmarks/training.py

engine: $(FTOPS) ## The training engine, once for all clones on this machine
	$(FTOPS) engine install

$(FTOPS): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $(FTOPS)

clean: ## Forget the environment and the store; git keeps the results
	rm -rf $(VENV) .ftops
