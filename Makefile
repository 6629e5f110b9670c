# Everything that a person types in this repository. Needs Python 3.11 or later, and make.
# Each target makes its own virtual environment in .venv; another Python: make test PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The version is part of a stamp's name, so that another Python gets another environment.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
PLAIN := $(VENV)/.python-$(VERSION)
DEMO := $(VENV)/.demo-$(VERSION)
DEV := $(VENV)/.dev-$(VERSION)

# The tests start some hundred processes: what Python has compiled is kept, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-lowest chaos check lint format bench docs clean

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | \
	while IFS='|' read -r target words; do printf '%-18s  %s\n' "$$target" "$$words"; done

demo: $(DEMO) ## Run a sample flow on a worker, with nothing to install; ARGS=--keep leaves Flower open
	@$(BIN)/flowq demo $(ARGS)

# Many tests wait for other processes, so more are at work than there are cores. Which tests stay
# together, and which begin first, is said in tests/tools/session/distribution.py.
test: $(DEV) ## Run the test suite; choose with ARGS="-k planner"
	@$(BIN)/python -m pytest -n $${FLOWQ_TEST_PROCESSES:-6} $(ARGS)

test-lowest: ## Run the suite on the oldest libraries that are promised
	@$(MAKE) --no-print-directory test VENV=$(VENV)-lowest CONSTRAINTS=1

chaos: $(DEV) ## Break whatever can break, and show what it cost
	@FLOWQ_SEEDS=$${FLOWQ_SEEDS:-50000} $(BIN)/python -m pytest -m "" tests/chaos $(ARGS)

# Side by side, since mypy keeps one core busy; both run to their end.
check: $(DEV) ## Run all that CI runs: the linters and the tests, each once
	@$(MAKE) --no-print-directory --keep-going --jobs=2 lint test

lint: $(DEV) ## Check format, style, types and imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## Format the code, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEV) ## Measure flowq against plain Celery
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(DEV) ## Build the site of the documentation into site/
	@$(BIN)/python docs/build.py site $(ARGS)

clean: ## Remove the environment and all that was made
	rm -rf $(VENV) $(VENV)-lowest .venv-peers build dist site .pytest_cache .mypy_cache .ruff_cache \
	    .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PLAIN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "flowq needs Python 3.11 or later, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	    echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@echo "Making $(VENV) with Python $(VERSION) …" >&2
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(DEMO): pyproject.toml | $(PLAIN)
	@echo "Installing flowq …" >&2
	@$(PIP) --editable '.[embedded,playbooks]'
	@touch $@

$(DEV): pyproject.toml | $(PLAIN)
	@echo "Installing flowq and its tools for development …" >&2
	@$(PIP) $(if $(CONSTRAINTS),--constraint $(VENV)/lowest.txt) --editable '.[dev]'
	@touch $@ $(DEMO)

ifdef CONSTRAINTS
$(DEV): $(VENV)/lowest.txt
$(VENV)/lowest.txt: pyproject.toml .ci/lowest.py | $(PLAIN)
	@$(BIN)/python .ci/lowest.py > $@
endif
