# Everything a person types here. `make` alone lists the targets.
#
# The work is done by scripts/; stamps in .venv/ keep a warm run from repeating it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

.PHONY: help setup setup-dev bpf up down test test-heavy fuzz oracle mutate check bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## install what is missing, start controller and lab, show what reaches what (root)
	@scripts/up

down: ## remove every namespace, device, pin and process of the lab (root)
	@scripts/setup run
	@./filament lab down

test: ## all checks and tests; bpf and lab tests run in namespaces of their own (root)
	@scripts/test

test-heavy: setup-dev ## tests against real servers of others; installs their packages (root)
	@.venv/bin/python -m pytest -m heavy

fuzz: setup-dev ## feed every decoder of what peers send with a million inputs each (nightly)
	@scripts/fuzz 1000000

oracle: setup-dev bpf ## run the BPF programs and their model on 100,000 random cases (root; half an hour)
	@scripts/private .venv/bin/python -m tests.bpf.oracle --cases 100000 --first-seed $${SEED:-1000000}

mutate: setup-dev bpf ## break the BPF programs line by line, and see that the model tells (root)
	@scripts/private .venv/bin/python -m tests.bpf.mutate

check: setup-dev ## ruff, mypy, import-linter
	@scripts/check

bench: setup-dev bpf ## measure packets and policy against others, and the API; JSON in bench/results (root)
	@scripts/private .venv/bin/python -m bench

setup: ## install what is missing to run: system packages, Python environment
	@scripts/setup run

setup-dev: # install what is missing to test as well
	@scripts/setup test

bpf: setup ## compile the BPF programs
	@.venv/bin/python -m filament.dataplane.build

clean: ## remove what was built (the lab is removed by `make down`)
	@rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@rm -f src/filament/dataplane/c/*.bpf.o src/filament/dataplane/c/lib/tables.gen.h
