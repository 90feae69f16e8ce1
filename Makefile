# Everything a developer or a curious person runs; `make help` lists it. Set up by tools/bootstrap.py, which needs
# nothing but python3 and is done in a moment when there is nothing to do.
PYTHON ?= python3
ARGS ?=
# Tests wait more than they work: more of them at once than there are cores. JOBS=0 runs them in one process.
JOBS ?= 4
PY = .venv/bin/python
# Debian 13 has Node 20, with which synthesis works; CDK's page of warning says nothing that `make check` could mend.
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 18,20
.DEFAULT_GOAL := help
.PHONY: help demo test check sim torture bench lint fix generate lock cloud-venv dev-venv infra-venv programs template wheel clean

help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: cloud-venv ## A meter, the agent and a cloud on this machine; ARGS="--for 60s --plain" runs unattended
	@.venv/bin/wattpost demo $(ARGS)

test: dev-venv programs ## The tests; ARGS="tests/unit -k topics" picks some
	$(PY) -m pytest --numprocesses=$(JOBS) $(ARGS)

check: dev-venv ## Lint, formatting, types, import arrows, generated files
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
	else echo "cloud/infra/template.json is not checked: that needs node"; fi

sim: dev-venv ## The seeded simulations of delivery and of serial lines, long
	SIM_LONG=1 $(PY) -m pytest tests/simulation --timeout=0 $(ARGS)

torture: dev-venv programs ## kill -9 under load, a million broken frames, hostile bytes; nothing lost, nothing wrong
	$(PY) bench/torture.py $(ARGS)
	$(PY) tests/property/fuzz_codec.py
	$(PY) tests/property/fuzz_line.py
	$(PY) tests/property/fuzz_telegrams.py

bench: dev-venv programs ## Bytes, memory, CPU, writes: the tables of the documentation
	$(PY) bench/codec.py
	$(PY) bench/rtu.py
	$(PY) bench/system.py $(ARGS)

lint: dev-venv ## Lint alone
	.venv/bin/ruff check

fix: dev-venv ## Lint and format, repairing what can be repaired
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

generate: dev-venv ## Write the generated files anew
	$(PY) tools/generate.py

lock: ## Resolve the dependencies anew into requirements/ (needs uv)
	$(PYTHON) tools/lock.py

wheel: dev-venv ## Build the wheel into dist/
	$(PY) -m hatchling build --target wheel

clean: ## Remove what the other targets made
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
