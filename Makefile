# make app    install into .venv and open the page on the demo library
# make test   install into .venv, lint, type-check and test: what CI runs
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SOURCES := data mulan indexing app tests

.PHONY: app test lint clean

app: .venv/installed
	$(BIN)/mulan serve

test: .venv/installed-dev lint
	$(BIN)/mypy
	$(BIN)/pytest

lint: .venv/installed-dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml $(BIN)/python
	@echo "installing torch and friends into .venv: about 5 GB, a few minutes"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-dev: pyproject.toml $(BIN)/python
	@echo "installing torch and friends into .venv: about 5 GB, a few minutes"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch .venv/installed $@
