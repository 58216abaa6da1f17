# The whole of the project's housekeeping. `make demo` and `make test` each set up all that they need.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# torch's threads sleep soon when they wait, so that a second busy process does not stall them (recc/commands/cores.py).
export GOMP_SPINCOUNT ?= 2000
# Extra flags for installing torch alone, such as the index of its CPU builds.
TORCH_FLAGS ?=
# Extra arguments of pytest: `make test ARGS='-k scan -x'`; `ARGS='-n0 --pdb'` stays in one process.
ARGS ?=
# Processes that `make test` runs at once; one that is done takes over tests of another.
WORKERS ?= 2
# Extra arguments of `make test-gpu` and `make bench-gpu`.
GPU_ARGS ?=
# The program that `make demo` runs, and where it writes.
FILE ?=
OUT ?= out/demo

.PHONY: help setup check format test test-gpu golden docs mutation demo bench bench-gpu clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# The stamp is written last, so an interrupted set-up starts again.
$(READY): $(wildcard requirements/*.txt)
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install $(TORCH_FLAGS) -r requirements/torch.txt
	$(PIP) install -r requirements/dev.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

setup: $(READY) ## make .venv from the pinned requirements

check: $(READY) ## ruff, ruff format --check, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## rewrite the sources as ruff formats them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(READY) ## every test, the documentation's code blocks included
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

# The targets for a GPU install nothing: torch, Triton and what recc needs are on the machine or on PYTHONPATH.
test-gpu: ## every kernel on the GPU of this machine against float64 (GPU_ARGS='--only hgrn')
	PYTHONPATH=.:$${PYTHONPATH:-} $(PYTHON) -m tests.gpu $(GPU_ARGS)

golden: $(READY) ## rewrite the expected texts, to be read in the diff
	$(BIN)/python -m pytest --update-golden $(ARGS)

docs: $(READY) ## regenerate docs/errors.md and run every code block of the documentation
	$(BIN)/python -m pytest --update-golden tests/docs

mutation: $(READY) ## plant faults and count those that the fuzzer finds, into docs/fuzzing.md (about 15 minutes)
	$(BIN)/python -m tests.mutation --write

demo: $(READY) ## compile a program, check it, train a language model with it (FILE=program.recc)
	$(BIN)/recc demo $(FILE) --out $(OUT)

bench: $(READY) ## measure against torch on this machine
	$(BIN)/recc bench $(FILE)

bench-gpu: ## measure on the GPU of this machine beside other libraries, into docs/benchmarks
	PYTHONPATH=.:$${PYTHONPATH:-} $(PYTHON) -m recc.bench.gpu $(GPU_ARGS)

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist out *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
