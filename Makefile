# Fluxa's own commands. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet
JOBS ?= 3
CODE := $(wildcard src tests bench demo)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.dev ## Make .venv with everything that development needs
	@echo "Ready: $(BIN)/fluxa"

check: $(VENV)/.dev ## Format, lint, types, floors, unit and house tests: the quick gate
	@echo "· format";  $(BIN)/ruff format --check --quiet $(CODE) || { echo "Run: make format"; exit 1; }
	@echo "· lint";    $(BIN)/ruff check --quiet $(CODE)
	@echo "· types";   $(BIN)/mypy --no-error-summary
	@echo "· floors";  out="$$($(BIN)/lint-imports 2>&1)" || { echo "$$out"; exit 1; }
	@echo "· tests";   $(BIN)/pytest $(wildcard tests/unit) tests/house

test: $(VENV)/.dev ## Every test: unit, house, conformance, integration, acceptance
	@rm -f .state/req-results.json
	@echo "· unit, house, conformance, integration: $(JOBS) at once"; failed=0; \
	$(BIN)/pytest --numprocesses=$(JOBS) --dist=loadfile tests --ignore=tests/acceptance || failed=1; \
	echo "· acceptance: one after another, since they measure"; \
	$(BIN)/pytest tests/acceptance || failed=1; exit $$failed
	@PYTHONPATH=tests $(PY) -m house.validation_matrix --summary

demo: $(VENV)/.demo ## Stream real events through the whole system and show what happened
	@$(PY) -m demo $(ARGS)

bench: $(VENV)/.bench ## Measure Fluxa against its peers; results in bench/
	@$(PY) -m bench $(ARGS)

format: $(VENV)/.dev ## Format the code and mend what can be mended
	@$(BIN)/ruff format --quiet $(CODE)
	@$(BIN)/ruff check --quiet --fix $(CODE)

docs: $(VENV)/.dev ## Write the generated pages again
	@PYTHONPATH=tests $(PY) -m house.reference_pages

matrix: $(VENV)/.dev ## Write docs/validation-matrix.md from the last test run
	@PYTHONPATH=tests $(PY) -m house.validation_matrix

lock: ## Resolve the dependencies again and pin them, with hashes (needs uv)
	$(COMPILE) --upgrade $(EXTRAS) --group dev --group bench -o lock/bench.lock
	$(COMPILE) -c lock/bench.lock --group build -o lock/run.lock
	$(COMPILE) -c lock/bench.lock --group build --group demo -o lock/demo.lock
	$(COMPILE) -c lock/bench.lock $(EXTRAS) --group dev -o lock/dev.lock

clean: ## Remove .venv, caches and test results; touches no data
	rm -rf $(VENV) .state .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage dist build

EXTRAS := --extra oidc --extra sqs --extra valkey
COMPILE := uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate pyproject.toml

# An environment of our own: pip takes exactly what the lock file names, then the project itself without the network.
$(PY):
	@PYTHON="$(PYTHON)" bash .ci/venv $(VENV)

$(VENV)/.%: lock/%.lock pyproject.toml | $(PY)
	@echo "Installing what lock/$*.lock names into $(VENV) (the first time takes a minute or two)"
	@$(PIP) --require-hashes --use-pep517 -r lock/$*.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: help setup check test demo bench format docs matrix lock clean
