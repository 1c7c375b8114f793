# The project's commands. A fresh Debian or Ubuntu machine needs make and Python; these install the rest.

# The interpreter that the virtual environment is made with: Python 3.11, 3.12 or 3.13.
PYTHON ?= python3
# More arguments for pytest: make test ARGS="-k switch"
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
CODE := dags demo examples/ci hosting include/agent plugins sandbox scripts tests

# The sandbox's machines need Linux and root.
MACHINES := $(shell [ "$$(uname -s)" = Linux ] && [ "$$(id -u)" = 0 ] && echo yes)

# Debian keeps haproxy and ip where only root's PATH looks.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help setup venv packages lint docs test chaos chaos-fleet chaos-agent test-features test-page test-state test-tls test-examples benchmark benchmark-build benchmark-deploy test-compose test-metrics test-tls-proxy test-plain-host env demo demo-down requirements audit sbom
.DEFAULT_GOAL := help

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: packages venv  ## Install what is missing: Debian packages, the virtual environment

packages:
	@scripts/install-system-packages

venv:
	@scripts/make-venv "$(PYTHON)" "$(VENV)"

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
	$(BIN)/python -m pytest --ignore=tests/compose --ignore=tests/metrics --ignore=tests/page --ignore=tests/plain_host --ignore=tests/tls_proxy -m "not sandbox" --numprocesses 2 --dist loadfile $(ARGS)
endif

chaos: setup  ## Every fault at every moment of a deploy, bad releases, killed agents; writes build/chaos.md, build/bad_releases.md
	@$(MAKE) --no-print-directory --jobs=2 chaos-fleet chaos-agent

chaos-fleet:
	CHAOS=whole $(BIN)/python -m pytest tests/sandbox/chaos $(ARGS)

# What needs no machines costs no time beside those.
chaos-agent:
	CHAOS=whole $(BIN)/python -m pytest --quiet tests/unit/agent/test_killed.py

test-features: setup  ## What not every app file has: migrations, processes, hooks, a public URL; needs Linux and root
	$(BIN)/python -m pytest tests/sandbox/features $(ARGS)

test-page: setup  ## The page of deployments in Chromium, by an API server with a filled database
	@scripts/install-system-packages browser
	$(BIN)/python -m pytest tests/page $(ARGS)

test-state: setup  ## Migrations, processes and sessions, with PostgreSQL and Redis on a machine; needs Linux and root
	$(BIN)/python -m pytest tests/sandbox/state $(ARGS)

test-tls: setup  ## Certificates by Pebble on two proxies, under load by https; needs Linux, root and Debian's pebble
	$(BIN)/python -m pytest tests/sandbox/tls $(ARGS)

test-examples: setup  ## Each example is provisioned, deployed, switched and rolled back under load; needs Linux and root
	$(BIN)/python -m pytest tests/sandbox/examples $(ARGS)

benchmark: setup  ## Deploys beside a tutorial's scripts and Ansible, on the same machines; writes build/benchmark_others.json
	$(BIN)/uv venv --quiet --allow-existing --python=$(BIN)/python build/benchmark-tools
	$(BIN)/uv pip sync --quiet --python=build/benchmark-tools/bin/python --require-hashes requirements-benchmark.txt
	$(BIN)/python -m pytest tests/sandbox/benchmark/test_others.py $(ARGS)

benchmark-build: setup  ## A release on four droplets, beside a shell script's steps; writes build/benchmark.json
	$(BIN)/python -m pytest tests/sandbox/benchmark/test_build.py $(ARGS)

benchmark-deploy: setup  ## What a deploy costs beside empty tasks, and with 25 droplets a color; writes build/benchmark_deploy.json
	$(BIN)/python -m pytest tests/sandbox/benchmark/test_deploy.py $(ARGS)

test-compose: setup  ## The stack of docker-compose.yaml on a container engine of its own; needs Linux and root
	@tests/compose/install-engine
	@tests/compose/stand-in-images make
	tests/compose/with-engine $(BIN)/python -m pytest tests/compose $(ARGS)

test-metrics: setup  ## The alarms of hosting/metrics, by Prometheus' own tools
	@scripts/install-system-packages metrics
	$(BIN)/python -m pytest tests/metrics $(ARGS)

test-tls-proxy: setup  ## The snippets of hosting/tls-proxy, by nginx and Caddy themselves
	@scripts/install-system-packages tls-proxy
	$(BIN)/python -m pytest tests/tls_proxy $(ARGS)

test-plain-host: setup  ## Airflow as systemd services on a server of its own; needs Linux and root
	$(BIN)/python -m pytest tests/plain_host $(ARGS)

env:  ## Write .env and an SSH key for docker-compose.yaml; refuses to overwrite
	@$(PYTHON) scripts/make_env.py

demo: setup  ## Provision and deploy four releases under load; KEEP=1 leaves everything running
	@$(BIN)/python -m demo

demo-down:  ## Stop what KEEP=1 has left running
	@$(BIN)/python -m demo down

requirements: venv  ## Compile requirements*.in into pinned versions with their hashes
	@for name in requirements requirements-image requirements-sandbox requirements-docs requirements-uv requirements-audit requirements-benchmark; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--output-file $$name.txt $$name.in || exit 1; \
	done

audit: venv  ## Look up known vulnerabilities of all pinned packages; offline it says so
	@$(BIN)/python scripts/supply_chain.py audit

sbom: venv  ## build/sbom.json (CycloneDX) and build/licences.md of the production image's packages; offline it says so
	@$(BIN)/python scripts/supply_chain.py sbom
