# A contributor's verbs. Everything lives in .venv; nothing is installed outside it.
PYTHON ?= python3
BIN := .venv/bin
RECIPE := recipes/quickstart.toml
RUNS := 20000

.PHONY: help demo test setup check fuzz bench docs lock sample

help:             ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

demo: .venv/ready ## from web pages to a model that answers, in about ten minutes on two cores
	@$(BIN)/openeurollm run $(RECIPE)

test: .venv/ready-dev ## set up and pass the tests
	@$(BIN)/pytest

setup: .venv/ready-dev ## a virtual environment with everything for development

check: .venv/ready-dev ## lint, format, types, import directions, generated files
	@$(BIN)/ruff check src tests sample benchmarks docs
	@$(BIN)/ruff format --check src tests sample benchmarks docs
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python sample/build.py --check
	@$(BIN)/python docs/commands.py --check

fuzz: .venv/ready-dev ## made-up bytes for every reader of strangers' data (Linux, x86-64); RUNS=20000 each
	@for file in tests/fuzz/fuzz_*.py; do name=$$(basename $$file .py); echo "$$name"; \
		$(BIN)/python tests/fuzz/run.py $$name -runs=$(RUNS) -max_len=4096 -seed=1 -timeout=10 -rss_limit_mb=4096 \
		-verbosity=0 -artifact_prefix=$${TMPDIR:-/tmp}/ || exit 1; done

bench: .venv/ready-dev ## the benchmarks that need no text of your own, ours and the peers' in one run
	@for name in corpus decoder duplicates engine extraction identify privacy scripts training; do \
		echo "$$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

docs: .venv/ready-dev ## remake the documentation that is generated
	@$(BIN)/python docs/commands.py

sample: .venv/ready ## remake the sample web from its sources
	@$(BIN)/python sample/build.py

lock: ## pin what a fresh resolution of pyproject.toml gives
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install -q -e '.[dev]'
	.venv-lock/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock
	rm -rf .venv-lock

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 5) and "Python 3.11.5 or newer is needed: make PYTHON=python3.12 …")'
	@echo "setting up .venv (about two minutes; packages come from the registry that pip is set to)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check -c requirements.lock -e '.[all]'
	@echo "compiling the language identifier" && echo "Ħelow." | $(BIN)/openeurollm identify - --by segment > /dev/null 2>&1
	@touch $@

.venv/ready-dev: .venv/ready
	@$(BIN)/pip install -q --disable-pip-version-check -c requirements.lock -e '.[dev]'
	@touch $@
