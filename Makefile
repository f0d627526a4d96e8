# Every target does the set-up it needs, on a fresh machine. See README.md.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export UV_FIND_LINKS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS))
export DO_NOT_TRACK := 1
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: help setup demo test test-slow test-all coverage check bench up down

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: .venv/ready  ## .venv with the pinned packages

.venv/ready: requirements.lock pyproject.toml
	@infra/install_system_packages.sh
	$(PYTHON) -m venv .venv.uv && .venv.uv/bin/pip install --quiet --disable-pip-version-check uv
	.venv.uv/bin/uv venv --quiet --clear --python $(PYTHON) .venv
	.venv.uv/bin/uv pip install --quiet --python $(BIN)/python --requirement requirements.lock
	.venv.uv/bin/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## the whole loop: robots, episodes, policies, evidence, release, fleet
	$(BIN)/drover demo

# Test files run side by side, each in one process. `make test WORKERS=0`: one after another, in this one.
WORKERS ?= auto
SLOW_WORKERS ?= 2
SIDE_BY_SIDE := --dist loadfile --no-loadscope-reorder
PYTEST := $(BIN)/python -m pytest

test: setup  ## all tests but the slow ones
	$(PYTEST) -n $(WORKERS) $(SIDE_BY_SIDE) -m "not slow"

test-slow: setup  ## the slow ones: whole stacks, the demo, storms, sweeps
	$(PYTEST) -n $(SLOW_WORKERS) $(SIDE_BY_SIDE) -m slow

test-all: test test-slow  ## all tests

coverage: setup  ## the lines that the tests of `make test` reach, in twice its time -> build/coverage
	$(PYTEST) --cov --cov-report=term --cov-report=html:build/coverage -n $(WORKERS) $(SIDE_BY_SIDE) -m "not slow"

check: setup  ## lint, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## ratios against peers and limits -> build/bench.json
	$(BIN)/python -m tests.benchmarks

up: setup  ## start the embedded stack and leave it running
	$(BIN)/drover up

down:  ## stop it
	@test -x $(BIN)/drover && $(BIN)/drover down || echo "nothing is set up here"
