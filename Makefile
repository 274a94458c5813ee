# One command a job; CI and a person run the same ones. `make help` lists them.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
APP := .venv-app
APP_TESTS := .venv-app-tests
PEERS := .venv-peers
EXPORTS := .venv-exports

# `$(call environment,FOLDER)` makes a virtual environment there, unless there is one.
define environment
@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	{ echo "FaceSync needs Python 3.10 to 3.13; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	{ echo "this Python cannot create environments; on Debian or Ubuntu: sudo apt install python3-venv"; exit 1; }
@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
endef
# `$(call pip,FOLDER) WHAT` installs into it what the tests ran on.
pip = @$(1)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help install app web run demo test test-app quick lowest check docs format bench bench-peers bench-exports bench-small-device clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

app: $(APP)/.installed  ## create .venv-app, 0.4 GB without torch, and start the app
	@$(APP)/bin/python faceid_app.py

web: $(APP)/.installed  ## the app as a page in the browser, from .venv-app
	@$(APP)/bin/python faceid_app.py web

$(APP)/.installed: requirements-app.txt constraints.txt
	$(call environment,$(APP))
	@echo "Installing the app into $(APP) (once; a minute or two and 0.4 GB) ..."
	$(call pip,$(APP)) -r requirements-app.txt
	@touch $@

install: $(STAMP)  ## create .venv and install the tested versions of everything into it

$(STAMP): requirements-app.txt requirements.txt requirements-dev.txt constraints.txt
	$(call environment,$(VENV))
	@echo "Installing into $(VENV) (once; the first time takes a few minutes and up to 6 GB with CUDA's libraries) ..."
	$(call pip,$(VENV)) -r requirements-dev.txt
	@touch $@

run: install  ## start the app from .venv (a terminal menu and a camera window)
	@$(PY) faceid_app.py

demo: install  ## the whole way on two public-domain photographs, no camera needed
	@$(PY) -m facesync.demo

test: install  ## all tests
	@$(PY) -m pytest -n 2

# Of what the app does without, its tests need onnx, to make networks, the photographs in others,
# and psycopg, for a gallery on a server.
$(APP_TESTS)/.installed: requirements-app.txt constraints.txt Makefile
	$(call environment,$(APP_TESTS))
	$(call pip,$(APP_TESTS)) -r requirements-app.txt \
		pytest pytest-timeout pytest-xdist setuptools openapi-spec-validator \
		onnx matplotlib scikit-image "psycopg[binary]"
	@touch $@

test-app: $(APP_TESTS)/.installed  ## the app's own tests where torch is not installed
	@$(APP_TESTS)/bin/python -m pytest -n 2

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

bench-peers: install $(PEERS)/.installed  ## FaceSync beside other projects, in one table
	@$(PEERS)/bin/python -m benchmarks.peers.table $(PEERS_OPTIONS)

# Beside what $(VENV) has, which stays as it is. What cannot be installed is left out of the table.
$(PEERS)/.installed: benchmarks/peers/requirements.txt
	@test -x $(PEERS)/bin/python || $(PY) -m venv $(PEERS)
	@$(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
		"$$($(PEERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/facesync.pth"
	@while read -r peer; do \
		$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "$$peer" || \
		echo "$$peer cannot be installed here: left out"; done < $<
	@touch $@

$(EXPORTS)/.installed: benchmarks/exports.txt requirements-app.txt
	$(call environment,$(EXPORTS))
	@echo "Installing LiteRT, ExecuTorch and torch into $(EXPORTS) (once; 7 GB) ..."
	@$(EXPORTS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/exports.txt
	@touch $@

bench-exports: $(EXPORTS)/.installed  ## every model in every format, in .venv-exports: likeness, accuracy, size
	@$(EXPORTS)/bin/python -m benchmarks.exports

bench-small-device: install  ## the app on a Raspberry Pi's system, made here and emulated; needs root
	@benchmarks/small_device.sh

clean:  ## remove the environment and what the demo wrote
	rm -rf $(VENV) $(APP) $(APP_TESTS) $(PEERS) $(EXPORTS) .venv-lowest demo_output benchmark_output
