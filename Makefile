# Every target sets up what it needs in .venv, from locks with hashes: the demo its own part, the others everything.
# Beside it, for another Python: make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# A module is compiled when it is imported; most of them never are.
# Of those that are, what is compiled is kept, also where the environment says not to: the tests start many processes.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-all check format lint types contract interop schemas test-ui test-containers properties bench chaos docs lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The pip that comes with Python 3.11 needs twice the CPU for the rest.
$(VENV)/.demo: requirements-pip.lock requirements-demo.lock
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --require-hashes -r requirements-pip.lock
	$(INSTALL) --require-hashes -r requirements-demo.lock
	touch $@

$(VENV)/.everything: $(VENV)/.demo requirements.lock pyproject.toml
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	touch $@

setup: $(VENV)/.everything ## make .venv, with everything that the targets need

demo: $(VENV)/.demo ## run the main job with everything embedded (ARGS=--keep leaves it running)
	@$(BIN)/python starter.py demo $(ARGS)

# More processes than two cores: a test mostly waits for its run. Each imports all tests, so only folders with quick ones.
PYTEST = $(BIN)/python -m pytest -n $(JOBS)
JOBS ?= 4
TESTS ?= tests/processes tests/integration tests/unit

test: setup ## run the tests but the slow ones: in parallel, against a real server, in at most four minutes
	$(PYTEST) -p no:schemathesis -p no:hypothesispytest -m "not slow" $(TESTS) $(ARGS)

# These keep a core busy each, and some measure a rate.
test-slow test-all: JOBS = 2

test-slow: setup ## run what `make test` leaves out: chaos, properties, npm, browser, image, wheel, minutes of waiting
	$(PYTEST) -m slow $(ARGS)

test-all: setup ## run all tests
	$(PYTEST) $(ARGS)

format: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

contract: setup ## the linters, and a runner that is not ours, on the document (needs npm)
	$(BIN)/python -m pytest tests/external/contract tests/unit/arazzo $(ARGS)

interop: setup ## workflows that call ours, clients that call the emulator, in Python and TypeScript (needs npm)
	$(BIN)/python -m pytest tests/external/examples tests/external/clients tests/external/webhooks $(ARGS)

schemas: setup ## renew the contract as files from the models: JSON Schemas, interfaces in TypeScript (needs npm)
	rm -f arazzo/schemas/*.schema.json
	$(BIN)/python -m message_batches.contract_schemas arazzo/schemas
	cd examples/typescript && npm ci --silent && npm run --silent generate

test-ui: setup ## what a browser shows of a run in the Web UI, and the report (needs Chromium; ARGS="--screenshots docs" renews the pictures)
	$(BIN)/python -m pytest tests/external/ui $(ARGS)

test-containers: setup ## the image, Compose and a pod on a container engine, with harm and an upgrade (needs root and podman)
	$(BIN)/python -m pytest tests/external/deploy $(ARGS)

properties: setup ## what must hold for any input, with thousands of inputs that differ each time (some minutes a test)
	PROPERTIES=thorough $(BIN)/python -m pytest tests/exhaustive/properties $(ARGS)

check: lint types ## format, lint, types and `make test`
	$(MAKE) test

bench: setup ## measure, and print one table (ARGS="landing submitting --rounds 9" for some of it)
	@$(BIN)/python -m benchmarks $(ARGS)

chaos: setup ## seeded harm to real processes, and what must hold all the same (ARGS="--rounds 200 --seed 1")
	@$(BIN)/python -m tests.exhaustive.chaos $(ARGS)

docs: setup ## build the documentation site in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock: ## renew the locks: everything, the demo's part, pip itself, what the image holds, what builds it, clients (needs uv)
	$(LOCK) --extra dev -o requirements.lock pyproject.toml
	$(LOCK) --no-annotate --extra demo -c requirements.lock -o requirements-demo.lock pyproject.toml
	echo pip | $(LOCK) --no-annotate -o requirements-pip.lock -
	$(LOCK) --no-annotate --extra worker --extra cli --extra emulator --extra otel -c requirements.lock -o deploy/requirements.lock pyproject.toml
	echo "instructor[anthropic]" | $(LOCK) --no-annotate -o tests/external/clients/instructor.lock -
	echo "pydantic-ai-slim[anthropic]" | $(LOCK) --no-annotate -o tests/external/clients/pydantic-ai.lock -
	echo hatchling | $(LOCK) --no-annotate -c requirements.lock -o deploy/build.lock -
	echo cyclonedx-bom | $(LOCK) --no-annotate -c requirements.lock -o deploy/sbom.lock -

clean: ## remove what the targets made
	rm -rf .venv .venv-* .hypothesis .pytest_cache .mypy_cache .ruff_cache arazzo/node_modules examples/typescript/node_modules examples/typescript/lib tests/external/clients/typescript/node_modules dist site
