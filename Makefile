.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
LOCK ?= cpu
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(LOCK)
export PROMPT

.PHONY: help setup demo test test-fast check format bench-miner bench-chain bench-referee release law clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(READY) ## create .venv from the pinned lock (LOCK=cpu or gpu)

$(READY): requirements/$(LOCK).lock.txt requirements/dev.lock.txt pyproject.toml scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) LOCK=$(LOCK) bash scripts/setup.sh
	@touch $@

demo: $(READY) ## the whole subnet on this machine: chain, miners, validator (PROMPT="..." asks it something)
	@$(BIN)/assay demo $${PROMPT:+--prompt "$$PROMPT"} $(ARGS)

test: $(READY) ## unit, property, golden and end-to-end tests with real vLLM
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/test.sh fast slow $(ARGS)

test-fast: $(READY) ## everything that needs no engine and no process, in about three minutes
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/test.sh fast $(ARGS)

check: $(READY) ## format, lint, strict types, import contracts, tests
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/check.sh

format: $(READY) ## rewrite the code in the house format
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench-miner: $(READY) ## miner against default vllm serve and the bare engine; writes docs/benchmarks
	@$(BIN)/python scripts/bench_miner.py $(ARGS)

bench-chain: $(READY) ## the devnet under 16 clients, 256 neurons; writes docs/benchmarks
	@$(BIN)/python scripts/bench_chain.py $(ARGS)

bench-referee: $(READY) ## the referee over its own forward pass and over generation; writes docs/benchmarks
	@$(BIN)/python scripts/bench_referee.py $(ARGS)

release: $(READY) ## train the tiny release, calibrate it, play every attack, regenerate every figure (hours)
	@$(BIN)/python scripts/train_tiny.py
	@$(BIN)/assay calibrate
	@$(BIN)/assay lab verify
	@$(BIN)/assay lab card
	@$(BIN)/python scripts/bench_miner.py
	@$(BIN)/python scripts/bench_chain.py
	@$(BIN)/python scripts/bench_referee.py

law: $(READY) ## 20 seeds of simulated cheats: does any pay? writes docs/law.json and .md (about 80 CPU minutes)
	@$(BIN)/assay law --output docs $(ARGS)

clean: ## remove the environment and everything that was generated
	rm -rf $(VENV) .demo .bench .law .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
