# `make up` and `make test` do everything on a fresh Debian 12 machine; see README.md.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
SKIFF := $(BIN)/skiff
# UP: more flags for `skiff up`, such as UP="--secure-port 7443".
UP ?=

.PHONY: help up down test check bench format proto conformance install dev-install system clean

help:
	@echo "make up      install what is needed, start a cluster, say what to do next"
	@echo "make down    stop it"
	@echo "make test    set up, check and run every test"
	@echo "make check   format, lint, types, import contracts, quick tests"
	@echo "make bench   measure, beside the figures to beat"

up: system install
	@$(BIN)/python -m compileall -q skiff # a third of the start-up time where nothing is compiled yet
	@$(SKIFF) up --detach $(UP)
	@command -v kubectl >/dev/null && kubectl version --client 2>/dev/null | head -n 1 || true

down:
	@$(SKIFF) down

system:
	@scripts/system-packages.sh

install: $(VENV)/.installed
dev-install: $(VENV)/.dev-installed

$(VENV)/.installed: requirements.lock pyproject.toml build_schemas.py | system
	@test -x $(BIN)/python || $$(scripts/find-python.sh) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python build_schemas.py
	@touch $@

$(VENV)/.dev-installed: requirements-dev.lock $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-dev.lock
	@touch $@

test: system dev-install
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest

lint: dev-install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/conformance.py --check

check: dev-install lint
	$(BIN)/python -m pytest -m "not real"

proto: dev-install
	$(BIN)/python -m grpc_tools.protoc -I skiff/node --python_out=skiff/node --pyi_out=skiff/node cri.proto containerd_events.proto

format: dev-install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

conformance: dev-install
	$(BIN)/python scripts/conformance.py

bench: system dev-install
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis skiff/api/schema.bin
