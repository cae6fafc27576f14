# Two commands matter: `make demo` and `make test`. Everything else is what they are made of.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOB ?= examples/halfcheetah.toml
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
ROOMS := $(wildcard *.py) py.typed cli policy targets runtime export train compress job

.PHONY: demo test lint format install install-dev wheel-check bench-peers bench-host clean
.DEFAULT_GOAL := help

help:
	@echo "make demo         train, compress, export, verify, measure and report: the main job on your machine"
	@echo "make test         lint, type-check and test"
	@echo "make lint         ruff and mypy alone"
	@echo "make bench-peers  install the runtimes that the host benchmark compares with, each in its own environment"
	@echo "make bench-host   time one decision here, against them (about 8 minutes; docs/benchmarks.md)"
	@echo "make wheel-check  build the wheel, try it in clean environments with and without the heavy extras"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Pilotfish needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip -c constraints.txt

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[all]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	@touch $@

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

demo: install
	PILOTFISH_PROGRESS=1 $(BIN)/pilotfish run $(JOB)

# mypy cannot see through the editable install's finder, so it is shown the package under its own name.
lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p build/typing/pilotfish && for part in $(ROOMS); do ln -sfn ../../../$$part build/typing/pilotfish/$$part; done
	MYPYPATH=build/typing $(BIN)/mypy -p pilotfish

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Tests share nothing but the processor: one worker a core, and one more, as many wait for what they started. Stealing work keeps
# neighbors, and what they share, together. Python is started often, a fifth slower where nothing may keep what it compiled.
test: lint
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal

bench-peers: install
	sh benchmarks/peers/install.sh $(BIN)/python

bench-host: install
	$(BIN)/python benchmarks/host.py

wheel-check: install-dev
	$(BIN)/python .ci/wheel_check.py

clean:
	rm -rf build dist runs *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
