# The commands of a developer; `make help` lists them. tools/bootstrap.py sets up what they need. It needs only python3,
# and takes a moment if all is set up.
PYTHON ?= python3
ARGS ?=
# Tests wait more than they work, so run more of them at once than there are cores. JOBS=0 runs them in one process.
JOBS ?= 4
PY = .venv/bin/python
# Synthesis works with the Node 20 of Debian 13. CDK prints a page of warning about it, which nobody here can act on.
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 18,20
.DEFAULT_GOAL := help
.PHONY: help demo test check sim torture bench lint fix generate lock cloud-venv dev-venv infra-venv programs template wheel clean

help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: cloud-venv ## Run a meter, the agent and a cloud on this machine; ARGS="--for 60s --plain" runs unattended
	@.venv/bin/wattpost demo $(ARGS)

test: dev-venv programs ## Run the tests; ARGS="tests/unit -k topics" selects some
	$(PY) -m pytest --numprocesses=$(JOBS) $(ARGS)

check: dev-venv ## Check lint, formatting, types, imports and generated files
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	$(PY) tools/generate.py --check
	@$(MAKE) --no-print-directory template

template:
	@if command -v node >/dev/null; then \
	    $(PYTHON) tools/bootstrap.py infra && .venv-cdk/bin/python -m cloud.infra.synth --check && \
	    .venv-cdk/bin/cfn-lint --ignore-checks W3005 -- cloud/infra/template.json && \
	    echo "cloud/infra/template.json is current"; \
	else echo "cloud/infra/template.json was not checked: install node to check it"; fi

sim: dev-venv ## Run the long seeded simulations of delivery and of serial lines
	SIM_LONG=1 $(PY) -m pytest tests/simulation --timeout=0 $(ARGS)

torture: dev-venv programs ## Test with kill -9 under load, a million broken frames and hostile bytes
	$(PY) bench/torture.py $(ARGS)
	$(PY) tests/property/fuzz_codec.py
	$(PY) tests/property/fuzz_line.py
	$(PY) tests/property/fuzz_telegrams.py

bench: dev-venv programs ## Measure bytes, memory, CPU and writes for the tables in the documentation
	$(PY) bench/codec.py
	$(PY) bench/rtu.py
	$(PY) bench/system.py $(ARGS)

lint: dev-venv ## Check lint only
	.venv/bin/ruff check

fix: dev-venv ## Format, and fix lint where ruff can
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

generate: dev-venv ## Regenerate the generated files
	$(PY) tools/generate.py

lock: ## Resolve the dependencies again and pin them in requirements/ (needs uv)
	$(PYTHON) tools/lock.py

wheel: dev-venv ## Build the wheel into dist/
	$(PY) -m hatchling build --target wheel

clean: ## Remove the files that the other targets made
	rm -rf .venv .venv-cdk .demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -prune -exec rm -rf {} +

cloud-venv:
	@$(PYTHON) tools/bootstrap.py cloud

dev-venv:
	@$(PYTHON) tools/bootstrap.py dev

infra-venv:
	@$(PYTHON) tools/bootstrap.py infra

programs:
	@$(PYTHON) tools/bootstrap.py programs
