# The project's commands. A fresh Debian or Ubuntu machine needs make and Python; these install the rest.

# The interpreter that the virtual environment is made with: Python 3.11, 3.12 or 3.13.
PYTHON ?= python3
# More arguments for pytest: make test ARGS="-k switch"
ARGS ?=

VENV := .venv
UV_VERSION := 0.13.9
BIN := $(VENV)/bin
CODE := dags demo examples/ci hosting include/agent plugins sandbox scripts tests

# The sandbox's machines need Linux and root.
MACHINES := $(shell [ "$$(uname -s)" = Linux ] && [ "$$(id -u)" = 0 ] && echo yes)

# Debian keeps haproxy and ip where only root's PATH looks.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help setup venv packages lint docs test chaos chaos-fleet chaos-agent test-examples benchmark-build test-compose test-metrics test-plain-host env demo demo-down requirements
.DEFAULT_GOAL := help

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: packages venv  ## Install what is missing: Debian packages, the virtual environment

packages:
	@scripts/install-system-packages

venv:
	@scripts/make-venv "$(PYTHON)" "$(VENV)" "$(UV_VERSION)"

lint: setup  ## ruff, mypy, shellcheck, haproxy -c, links of the documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)
	shellcheck .ci/run include/agent/facts/announced.sh $$(grep --files-with-matches --no-messages '^#!.*sh$$' \
		scripts/* tests/compose/* tests/sandbox/benchmark/* hosting/compose/* hosting/systemd/* sandbox/guest/*)
	$(BIN)/python scripts/check_haproxy_templates.py
	@$(MAKE) --no-print-directory docs

docs: venv  ## Build the documentation in build/site; a broken link fails it
	$(BIN)/python scripts/make_reference.py
	$(BIN)/zensical build --strict --clean

ifeq ($(MACHINES),yes)
test: setup  ## DAGs, plugin and sandbox; without Linux and root those that need no machines
	@scripts/install-system-packages browser
	$(BIN)/python scripts/run_tests.py $(ARGS)
else
test: venv
	@echo "make test: the tests that need the sandbox's machines are left out, because they need Linux and root"
	$(BIN)/python -m pytest --ignore=tests/compose --ignore=tests/metrics --ignore=tests/plain_host -m "not sandbox" --numprocesses 2 --dist loadfile $(ARGS)
endif

chaos: setup  ## Every fault at every moment of a deploy, bad releases, killed agents; writes build/chaos.md, build/bad_releases.md
	@$(MAKE) --no-print-directory --jobs=2 chaos-fleet chaos-agent

chaos-fleet:
	CHAOS=whole $(BIN)/python -m pytest tests/sandbox/chaos $(ARGS)

# What needs no machines costs no time beside those.
chaos-agent:
	CHAOS=whole $(BIN)/python -m pytest --quiet tests/unit/agent/test_killed.py

test-examples: setup  ## Each example is provisioned, deployed, switched and rolled back under load; needs Linux and root
	$(BIN)/python -m pytest tests/sandbox/examples $(ARGS)

benchmark-build: setup  ## A release on four droplets, beside a shell script's steps; writes build/benchmark.json
	$(BIN)/python -m pytest tests/sandbox/benchmark $(ARGS)

test-compose: setup  ## The stack of docker-compose.yaml on a container engine of its own; needs Linux and root
	@tests/compose/install-engine
	@tests/compose/stand-in-images make
	tests/compose/with-engine $(BIN)/python -m pytest tests/compose $(ARGS)

test-metrics: setup  ## The alarms of hosting/metrics, by Prometheus' own tools
	@scripts/install-system-packages metrics
	$(BIN)/python -m pytest tests/metrics $(ARGS)

test-plain-host: setup  ## Airflow as systemd services on a server of its own; needs Linux and root
	$(BIN)/python -m pytest tests/plain_host $(ARGS)

env:  ## Write .env and an SSH key for docker-compose.yaml; refuses to overwrite
	@$(PYTHON) scripts/make_env.py

demo: setup  ## Provision and deploy four releases under load; KEEP=1 leaves everything running
	@$(BIN)/python -m demo

demo-down:  ## Stop what KEEP=1 has left running
	@$(BIN)/python -m demo down

requirements: venv  ## Compile the three requirements*.in into pinned versions
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --output-file requirements.txt requirements.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --output-file requirements-image.txt requirements-image.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --constraint requirements.txt \
		--output-file requirements-docs.txt requirements-docs.in
