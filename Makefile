# Every task has one name, and CI calls these names only.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3.11
VENV := .venv
NEWEST := .venv-newest
LOCK := dev.lock
BIN := $(VENV)/bin
FTOPS := $(BIN)/ftops

.PHONY: apply test test-newest lint bench bench-check engine lock clean

apply: $(FTOPS) engine ## Do what specs/ says: the example, from data to models and the verdict of an experiment
	$(FTOPS) apply --yes

test: $(FTOPS) engine ## Every test, with the real components
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

test-newest: ## Every test, with the newest versions that pyproject.toml allows, in an environment of its own
	@echo "Setting up $(NEWEST) with the newest versions, a minute or two"
	$(call set_up,$(NEWEST),$(call pip,$(NEWEST)) --upgrade pip && $(call pip,$(NEWEST)) --editable . --group dev)
	$(NEWEST)/bin/ftops engine install
	$(NEWEST)/bin/python -m pytest -n logical --maxprocesses 4 --dist worksteal

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
	$(BIN)/python benchmarks/looking.py
	$(BIN)/python benchmarks/data.py $(if $(PEERS),--peers $(PEERS))
	$(BIN)/python benchmarks/experiments.py
	$(BIN)/python benchmarks/training.py

bench-check: $(FTOPS) ## Fail where a ratio to a peer got worse by more than 15 %
	$(BIN)/python benchmarks/check.py

engine: $(FTOPS) ## The training engine, once for all clones on this machine
	$(FTOPS) engine install

# Settings of this machine don't count: what is locked is what PyPI has.
lock: $(FTOPS) ## Pin in dev.lock what pyproject.toml asks for; with RAISE="NAME …" or RAISE=all, the newest of it
	unset $${!UV_@}; $(BIN)/uv --no-config --quiet pip compile --python $(BIN)/python --python-version 3.11 \
	  --universal --fork-strategy fewest --generate-hashes --no-annotate --custom-compile-command "make lock" \
	  $(if $(filter all,$(RAISE)),--upgrade,$(addprefix --upgrade-package ,$(RAISE))) \
	  --all-extras --group dev --output-file $(LOCK) pyproject.toml

# What pip says goes into a log: on some machines it warns hundreds of times.
log = $(1)/install.log
log_or_fail = >>$(log) 2>&1 || { sed '/^WARNING/d' $(log) | tail -n 10; \
	echo "$(1) could not be set up; all that was said is in $(log)"; exit 1; } >&2
pip = $(1)/bin/python -m pip install --no-input
set_up = @rm -rf $(1) && mkdir $(1) && { $(PYTHON) -m venv $(1) && $(2); } $(log_or_fail)

$(FTOPS): pyproject.toml $(VENV)/locked
	@$(call pip,$(VENV)) --no-deps --no-build-isolation --editable . $(call log_or_fail,$(VENV))
	@touch $(FTOPS)

# pip first, by its own lines of the lock: it can't well replace itself while it installs the others.
$(VENV)/locked: $(LOCK)
	@echo "Setting up $(VENV), a minute or two"
	$(call set_up,$(VENV),\
	  $(call pip,$(VENV)) --require-hashes --requirement <(sed -n '/^pip==/,/[^\\]$$/p' $(LOCK)) && \
	  $(call pip,$(VENV)) --require-hashes --requirement $(LOCK))
	@touch $@

clean: ## Forget the environment and the store; git keeps the results
	rm -rf $(VENV) $(NEWEST) .ftops
