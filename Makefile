# Fluxa's own commands. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes

.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

lock: ## Resolve the dependencies again and pin them, with hashes (needs uv)
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate --upgrade pyproject.toml --group dev --group bench -o lock/bench.lock
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate pyproject.toml -c lock/bench.lock -o lock/run.lock
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate pyproject.toml --group demo -c lock/bench.lock -o lock/demo.lock
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate pyproject.toml --group dev -c lock/bench.lock -o lock/dev.lock

.PHONY: help lock
