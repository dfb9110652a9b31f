# Every command of the README. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo up down clean status env check test faults bench screenshots

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: up $(VENV)/ready ## bring everything up, then drive the main job as a person would
	@eval "$$($(PYTHON) -m deploy env)" && $(RUN) -m deploy.demo

up: ## bring up the cluster, the images and the hub; again: in seconds
	@$(PYTHON) -m deploy up

down: ## stop; keep data
	@$(PYTHON) -m deploy down

clean: ## remove all that was made on the machine
	@$(PYTHON) -m deploy clean
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

status: ## how each part of the node does
	@$(PYTHON) -m deploy status

env: ## shell exports: eval "$(make env)"
	@$(PYTHON) -m deploy env

check: $(VENV)/ready ## format, lint, types, boundaries, unit tests: what CI checks first
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy
	@$(RUN) -m pytest -q tests/unit

test: up $(VENV)/ready ## the test suite against the cluster; of each sort of fault a quick one
	@$(PYTHON) -m deploy browser
	@eval "$$($(PYTHON) -m deploy env)" && $(RUN) -m pytest -m "not long" tests

faults: up $(VENV)/ready ## every fault, the long ones too
	@eval "$$($(PYTHON) -m deploy env)" && $(RUN) -m pytest tests/faults

bench: up $(VENV)/ready ## ratios against the floor, in one interleaved run; one part: BENCH=homes
	@eval "$$($(PYTHON) -m deploy env)" && $(RUN) -m tests.bench $(BENCH)

screenshots: up $(VENV)/ready ## the README's pictures, from a real Chromium
	@$(PYTHON) -m deploy browser
	@eval "$$($(PYTHON) -m deploy env)" && $(RUN) -m deploy.screenshots

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(PYTHON) -m deploy packages
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
