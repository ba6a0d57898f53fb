# One environment in .venv, made from a plain python3; every target makes what it needs.
#   make demo      a first run on a real volume
#   make test      lint, types, layers and all tests
#   make help      the rest

PYTHON  ?= python3
WORKERS ?= 2
VENV    := .venv
BIN     := $(VENV)/bin
ARGS    ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test pytest pytest-x64 lint docs dist format bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.installed-test  ## the environment in .venv (again when pyproject.toml changes)
	@:

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("make: $(PYTHON) is Python %d.%d; bimmjax wants 3.11 or newer: make setup PYTHON=/path/to/python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-test: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

$(VENV)/.installed-bench: pyproject.toml | $(VENV)/.installed-test
	$(BIN)/pip install --quiet --editable '.[test,bench]'
	@touch $@

$(VENV)/.installed-dist: pyproject.toml | $(VENV)/.installed-test
	$(BIN)/pip install --quiet --editable '.[test,dist]'
	@touch $@

demo: setup  ## fit a real volume; pictures and report go to the folder demo
	@rm -rf demo
	$(BIN)/bimmjax demo --out demo

test: lint pytest pytest-x64  ## everything that has to hold

lint: setup  ## ruff, pyright, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

pytest: setup  ## the tests and the docstrings' examples, in float32 (ARGS="-k name" for some)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(ARGS)

pytest-x64: setup  ## the numerics once more in float64
	JAX_ENABLE_X64=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile -m numerics $(ARGS)

docs: setup  ## the documentation site, in site/
	$(BIN)/mkdocs build --quiet
	@echo "open site/index.html, or (for its search) $(BIN)/python -m http.server -d site"

dist: $(VENV)/.installed-dist  ## wheel and sdist, in dist/, checked as PyPI would
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	@ls -l dist

format: setup  ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-bench  ## the benchmarks, torch (CPU) included; takes long
	$(BIN)/python -m benchmarks $(ARGS)

clean:  ## caches and outputs, but not .venv
	rm -rf demo site dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find bimmjax tests -name __pycache__ -type d -prune -exec rm -rf {} +
