# Needs Python 3.11 or later, make and git; every other tool is put into .venv, once.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(or $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done),python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PROFILE ?= quick
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup gate scenario test coverage check format bench image clean
.DEFAULT_GOAL := help

help: ## say what can be made
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):[^#]*## /\1|/' \
		| while IFS='|' read -r target words; do printf '  make %-9s %s\n' "$$target" "$$words"; done

setup: $(READY) ## make .venv with everything that is locked
	@:

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c '$(NEW_ENOUGH)' \
		|| { echo 'Python 3.11 or later is needed: make PYTHON=/path/of/it'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'setting up $(VENV)'
	@$(BIN)/python -m pip install --quiet --no-input --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-input --no-build-isolation --no-deps -e .
	@touch $@

gate: $(READY) ## run all scenarios, generated databases and mutants; sign one report (PROFILE=full)
	@$(BIN)/harness gate --profile $(PROFILE) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT))

scenario: $(READY) ## play one scenario: NAME=its-name or FILE=its-file, SEED=number
	@test -n '$(NAME)$(FILE)' || { echo 'say which: make scenario NAME=… (or FILE=…)'; \
		find scenarios -name "*.yaml" | sed -E 's,.*/(.*)\.yaml,  \1,' | sort; exit 2; }
	@$(BIN)/harness scenario $(or $(FILE),$(NAME)) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT))

test: $(READY) ## run the tests, scenarios among them (ARGS='-k NAME')
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

coverage: $(READY) ## run the tests and print which lines they reach; takes half as long again
	@rm -f .coverage .coverage.*; mkdir -p reports
	@{ $(BIN)/coverage run -m pytest -n $(WORKERS) --dist loadfile $(ARGS) 2>&1; \
		echo $$? >reports/test.status; } | tee reports/test.log
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report
	@grep -E '^(FAILED|ERROR) ' reports/test.log; tail -n 1 reports/test.log; \
		exit "$$(cat reports/test.status)"

check: $(READY) ## lint, formatting, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(READY) ## write the formatting that check wants
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY) ## measure comparison, migration and services (ARGS='--only NAME', docs/developers.md)
	@$(BIN)/python -m bench $(ARGS)

image: $(READY) ## make the container image of the services; docker and, for its base, debootstrap are needed
	@PYTHON=$(BIN)/python containers/image

clean: ## remove what was made, but not .venv
	@find reports -mindepth 1 -maxdepth 1 ! -name README.md ! -name sample -exec rm -rf {} +
	@rm -rf .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis build
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
