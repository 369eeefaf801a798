# Everything a person does here, each with one word. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test check e2e torture bench venv clean

VENV := .venv
BIN := $(VENV)/bin
# The newest Python that works and is at least 3.11; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# How many processes share the fast tests.
WORKERS ?= 2

help: ## Show what there is.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "eventrt needs Python 3.11 or newer with the venv module; set PYTHON=..." >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

# One stamp per set of packages: made anew when pyproject.toml changes.
$(VENV)/.run: $(BIN)/python pyproject.toml
	@$(PIP) --editable '.[fast,files,runtime]'
	@touch $@

$(VENV)/.test: $(VENV)/.run pyproject.toml plugins/eventrt-poller-file/pyproject.toml
	@$(PIP) --editable '.[fast,files,runtime,test]' --editable plugins/eventrt-poller-file
	@touch $@

$(VENV)/.check: $(VENV)/.test pyproject.toml
	@$(PIP) --editable '.[fast,files,runtime,test,check]'
	@touch $@

# Bytecode, also where the environment says not to write any (PYTHONDONTWRITEBYTECODE): it halves the start.
.PHONY: compiled
compiled: $(VENV)/.run
	@$(BIN)/python -m compileall -q eventrt

venv: $(VENV)/.check ## Set up everything there is to work with.

run: compiled ## Start the demo on 127.0.0.1:4566 and stay up; Ctrl-C stops it.
	@exec $(BIN)/python config/demo/run.py

test: $(VENV)/.test compiled ## Run the fast tests: unit, property, contract, wire.
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(PYTEST_ARGS)

check: $(VENV)/.check ## Lint, format, types, import arrows.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-cache

e2e: $(VENV)/.test compiled ## Run the daemon as a process, with real handlers and clients.
	@$(BIN)/python -m pytest tests/e2e $(PYTEST_ARGS)

torture: $(VENV)/.test compiled ## kill -9 and power cuts under load, full disk, stuck handlers; ARGS=... is passed on.
	@$(BIN)/python -m tests.torture $(ARGS)

bench: $(VENV)/.test compiled ## Measure, each figure beside its floor; ARGS=... is passed on.
	@$(BIN)/python -m tests.bench $(ARGS)

clean: ## Remove what the tools made, and the environment.
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
