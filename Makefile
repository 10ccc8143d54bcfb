# Everything a contributor runs. All tool configuration is in pyproject.toml.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv),.uv/bin/uv)
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
ENVIRONMENT := .venv/.synced
PACKAGES := dtool_s3 operator sandbox tests docs benchmarks
# stories of tests/e2e that are played with the operator in its Pod too; any other can be
ON_CLUSTER := $(foreach story,copy restart kill refusals listing,tests/e2e/test_$(story).py)

.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: env
env: $(ENVIRONMENT) ## Create the environment in .venv from uv.lock

.uv/bin/uv:
	@echo "Installing uv $(UV_VERSION) into .uv"
	@python3 -m venv .uv
	@.uv/bin/python -m pip install --quiet uv==$(UV_VERSION)

$(ENVIRONMENT): pyproject.toml uv.lock $(filter .uv/bin/uv,$(UV))
	@echo "Creating the environment in .venv"
	@$(UV) sync --locked --all-extras --quiet
	@touch $@

.PHONY: demo
demo: env ## Play the whole story on a sandbox of its own, then end it
	@$(PYTHON) -m sandbox.demo

.PHONY: sandbox
sandbox: env ## Start control plane, S3 and operator, and keep them
	@$(PYTHON) -m sandbox up

.PHONY: operator
operator: env ## Start the sandbox's operator again, if it is not running
	@$(PYTHON) -m sandbox operator

.PHONY: sandbox-down
sandbox-down: env ## End the sandbox
	@$(PYTHON) -m sandbox down

.PHONY: image
image: env ## Build the operator's image into build/, unless it is up to date
	@$(PYTHON) -m sandbox.operator_image

.PHONY: cluster
cluster: env ## Start a cluster with a real node (root, Linux), with S3, and keep it
	@$(PYTHON) -m sandbox cluster

.PHONY: cluster-down
cluster-down: env ## End the cluster
	@$(PYTHON) -m sandbox cluster-down

# the longest first; two at a time: most of a suite's time is spent waiting for servers
SUITES := cluster-tests contract faults integration e2e unit chart-test

.PHONY: test
test: lint type ## Run every check, two suites at a time; each shows its output when it ends
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target $(SUITES)

.PHONY: lint
lint: env ## Check style and the direction of imports
	$(PYTHON) -m ruff check $(PACKAGES)
	$(PYTHON) -m ruff format --check --quiet $(PACKAGES)
	.venv/bin/lint-imports --no-logo
	.venv/bin/hadolint Dockerfile

.PHONY: type
type: env ## Check types
	$(PYTHON) -m mypy

.PHONY: unit
unit: env ## Run the tests that need no server
	$(PYTHON) -m coverage run -m pytest tests/unit
	$(PYTHON) -m coverage report

.PHONY: contract
contract: env ## Hold stores, models, CRDs and upstream dtool to one behaviour
	$(PYTEST) tests/contract

.PHONY: chart-test
chart-test: env ## Render the chart with helm, and hold it to its promises
	$(PYTEST) tests/chart

.PHONY: integration
integration: env ## Test against a real API server and a real S3 server
	$(PYTEST) tests/integration

.PHONY: e2e
e2e: env ## Play user stories against the running operator
	$(PYTEST) tests/e2e

.PHONY: e2e-cluster
e2e-cluster: env ## Play user stories on a cluster with a real node, or on the one named by DTOOL_TEST_CONTEXT
	[ -n "$${DTOOL_TEST_CONTEXT:-}" ] || $(PYTHON) -m sandbox cluster-check
	[ -n "$${DTOOL_TEST_IMAGE:-}" ] || $(PYTHON) -m sandbox.operator_image
	$(PYTEST) tests/cluster
	DTOOL_E2E_ON_CLUSTER=1 $(PYTEST) $(ON_CLUSTER)

.PHONY: cluster-tests
cluster-tests: env
	@if [ -n "$${DTOOL_TEST_CONTEXT:-}" ] || $(PYTHON) -m sandbox cluster-check; then \
		$(MAKE) --no-print-directory e2e-cluster; \
	else \
		echo "LEFT OUT: e2e-cluster, for the reasons above; all else was run" >&2; \
	fi

.PHONY: faults
faults: env ## Kill, cut, refuse, lie and attack: what operator and tenants' data must survive
	$(PYTEST) tests/faults tests/security

.PHONY: bench-operator
bench-operator: env ## Measure the operator with 10,000 datasets (a quarter of an hour), into benchmarks/RESULTS.md
	$(PYTHON) -m benchmarks operator

.PHONY: bench-scale
bench-scale: env ## Measure 100,000 items in shards on a cluster with a real node (20 minutes), into benchmarks/RESULTS.md
	$(PYTHON) -m benchmarks scale

.PHONY: bench
bench: env ## Measure the library against its peers (a quarter of an hour), into benchmarks/RESULTS.md
	$(PYTHON) -m benchmarks

.PHONY: format
format: env ## Format the code and sort imports
	$(PYTHON) -m ruff check --fix --quiet $(PACKAGES)
	$(PYTHON) -m ruff format --quiet $(PACKAGES)

.PHONY: docs
docs: env chart ## Generate docs/api.md, and the tables and lists of other pages
	$(PYTHON) docs/generate_api.py
	$(PYTHON) docs/generate_plugin.py
	$(PYTHON) docs/generate_operations.py
	$(PYTHON) docs/generate_troubleshooting.py

.PHONY: chart
chart: env ## Generate the chart's CRDs, and the roles for those who do without it
	$(PYTHON) docs/generate_chart.py

.PHONY: docs-site
docs-site: env ## Build the documentation site into build/site; every warning is an error
	$(PYTHON) docs/build_site.py build/site

.PHONY: clean
clean: ## Remove the environment and caches of this checkout
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
