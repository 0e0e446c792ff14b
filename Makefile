# Each target sets itself up: Python 3.11+ and make are all it takes. Again: seconds.
#
#   make demo    a multi-user agent program against a local provider, budgets refused live
#   make test    the whole test-suite
#   make bench   what metering costs, as ratios
#   make docs    the documentation, into site/
#   make lint    ruff and mypy
#   make soak    kills, faults and crowds, ten times as long as in the suite
#   make conformance   emitters in environments of their own; writes docs/conformance.md

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test bench docs lint conformance soak clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.demo
	@$(BIN)/otel-atm demo

# The ratios are measured alone, after all else: the suite itself loads both cores.
test: $(VENV)/.test
	$(BIN)/python -m tests.tokenizers.data
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not ratio and not soak" $(ARGS)
	$(BIN)/python -m pytest -m ratio tests/bench

bench: $(VENV)/.bench
	@$(BIN)/python -m benchmarks

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

lint: $(VENV)/.test $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/typing/api.py

soak: $(VENV)/.test
	$(BIN)/python -m pytest --capture no -m soak $(or $(ARGS),tests/soak tests/store)

# All of it takes a while; ARGS="genai_openai --mode doors" is one probe in one mode.
conformance: $(VENV)/.test
	$(BIN)/python -m tests.conformance $(or $(ARGS),--jobs 2 --write)

clean:
	rm -rf $(VENV) .conformance site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "otel-atm needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.demo: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) --editable ".[demo]"
	@touch $@

$(VENV)/.test: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) --editable ".[all]" --group test
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) --editable . --group bench
	@touch $@

$(VENV)/.docs: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) --editable . --group docs
	@touch $@

$(VENV)/.lint: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) --editable . --group lint
	@touch $@
