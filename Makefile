# make demo and make test need only Python >= 3.11, git and make: each sets up
# its own environment in .venv, with the exact versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
WORKERS ?= 2

.PHONY: demo test lint unit benchmarks format clean

demo: $(VENV)/.installed-all
	$(BIN)/wprops demo --output $(DEMO) --workers $(WORKERS)

test: lint unit

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.installed-test
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS)

benchmarks: $(VENV)/.installed-test
	$(BIN)/python benchmarks/bench_events.py

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "wprops needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build dist
