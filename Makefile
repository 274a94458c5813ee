# One command a job; CI and a person run the same ones. `make help` lists them.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: help install run demo test quick lowest check docs format bench bench-peers clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

install: $(STAMP)  ## create .venv and install the tested versions into it

$(STAMP): requirements.txt requirements-dev.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "FaceSync needs Python 3.10 to 3.13; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "this Python cannot create environments; on Debian or Ubuntu: sudo apt install python3-venv"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (once; the first time takes a few minutes and up to 6 GB with CUDA's libraries) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $@

run: install  ## start the app (a terminal menu and a camera window)
	@$(PY) faceid_app.py

demo: install  ## the whole way on two public-domain photographs, no camera needed
	@$(PY) -m facesync.demo

test: install  ## all tests
	@$(PY) -m pytest -n 2

quick: install  ## the fast tests, for the habit of running them
	@$(PY) -m pytest -n 2 -q -m "not slow and not window" --ignore tests/end_to_end

# What is older warns of what is newer: warnings are no errors here.
lowest:  ## the fast tests at the lowest versions that requirements.txt allows, in .venv-lowest
	@test -x .venv-lowest/bin/uv || { $(PYTHON) -m venv .venv-lowest && .venv-lowest/bin/pip install --quiet uv; }
	@.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct -r requirements.txt
	@.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python -r requirements-dev.txt
	@.venv-lowest/bin/python -m pytest -n 2 -q -o filterwarnings=default -m "not slow and not window" --ignore tests/end_to_end

check: install  ## lint, format, types, layers of imports, docs/cli.md
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports
	@$(PY) docs/generate_cli.py --check

docs: install  ## write docs/cli.md anew from the help of every command
	@$(PY) docs/generate_cli.py

format: install  ## let ruff rewrite what it can
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench: install  ## the benchmarks, as ratios of two ways in one run
	@for name in benchmarks/*.py; do $(PY) -m benchmarks.$$(basename $$name .py) || exit 1; done

bench-peers: install  ## speed beside other projects', as far as they are installed
	@for name in benchmarks/peers/[a-z]*.py; do $(PY) -m benchmarks.peers.$$(basename $$name .py) || exit 1; done

clean:  ## remove the environment and what the demo wrote
	rm -rf $(VENV) .venv-lowest demo_output benchmark_output
