# tickplant: everything a newcomer needs is `make run` and `make test`; `make help` lists the rest.
.DELETE_ON_ERROR:
.PHONY: run runtime development test check lint types tests long long-tests proofs programs kernels-plain kernels-checked cover kill chaos subscribers bench bench-peers fuzz page lock help clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ALSO ?=
CONFIG ?=
MINUTES ?= 1
TIMES ?= 20
SUBSCRIBERS ?= 50
SECONDS ?= 15
SEED ?= 1

INSTALL = tools/install.py $(VENV) $(if $(filter file,$(origin PYTHON)),,--python "$(PYTHON)")
TOO_OLD = import sys; sys.exit(sys.version_info < (3, 11) and "$(PYTHON) is Python %d.%d, and tickplant needs 3.11 or \
later: name one, as in make PYTHON=/path/to/python3.11" % sys.version_info[:2])

# Complete already, as the environment's own Python says? If not, install with $(PYTHON).
define install
@[ -x $(BIN)/python ] && $(BIN)/python $(INSTALL) --check $(1) || { \
  command -v "$(PYTHON)" >/dev/null || { echo "no $(PYTHON) here: tickplant needs Python 3.11 or later" >&2; exit 1; }; \
  "$(PYTHON)" -c '$(TOO_OLD)' && "$(PYTHON)" $(INSTALL) $(1); }
endef

runtime:  ## install what the plant needs, from requirements.lock
	$(call install,$(ALSO))

development:  ## the same, and what tests and checks need, from requirements-dev.lock
	$(call install,--development $(ALSO))

run: runtime  ## launch the demo plant (CONFIG=file for another)
	@$(BIN)/tickplant up $(if $(CONFIG),-c $(CONFIG))

check: lint types  ## lint, format, types

lint: development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: development
	$(BIN)/mypy

# `make long` tests kernels with bounds checks too, for which each of them is compiled anew.
test: lint  ## check, and every test but the long ones, those of kernels as plain Python too
	@$(MAKE) --no-print-directory -j 3 types tests kernels-plain

# Where this is set, every test process rewrites and compiles every test module anew, for seconds.
unexport PYTHONDONTWRITEBYTECODE

# Processes wait much of the time, which kernel tests fill: beside them, and behind them in rank.
PYTEST := $(BIN)/python -m pytest
SHARE ?= 10
KERNEL_TESTS = nice $(PYTEST) -q -m "kernels$(if $(filter-out 1,$(SHARE)), and not long)" --share $(SHARE) $(shell grep -rl --include='*.py' 'mark\.kernels' tests)

# Their output comes when they are done, in one piece.
define kernel_tests
@echo "the kernels again: $(1)"; told=$$($(1) $(KERNEL_TESTS) 2>&1); code=$$?; echo "$(1)"; echo "$$told"; exit $$code
endef

tests: development  ## every test but the long ones; of those of kernels one of SHARE examples
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder -m "not long and not proof" --share $(SHARE)

programs:  ## what long tests use of Debian, chromium and prometheus: by apt-get where this is root, else they are skipped
	@tools/programs.sh

long: development programs  ## what takes longer: recordings, faults, chaos, kills, subscribers, benchmarks, installation, kernels with all examples
	@$(MAKE) --no-print-directory -j 3 SHARE=1 long-tests kernels-plain kernels-checked

long-tests: development
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder -m "(long or kernels) and not proof"

proofs: development  ## an hour: every fault at every venue, a connection that dies each second, exports killed at every step, a ladder of 1,000 books
	$(PYTEST) -n 3 --dist load -m proof -rP

kernels-plain: development
	$(call kernel_tests,NUMBA_DISABLE_JIT=1)

kernels-checked: development
	$(call kernel_tests,NUMBA_BOUNDSCHECK=1)

cover: development  ## which branches the tests take, those of plants included; fails below the floor in pyproject.toml
	rm -f .coverage .coverage.*
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder --cov --cov-report= --cov-fail-under=0
	NUMBA_DISABLE_JIT=1 $(KERNEL_TESTS) --cov --cov-append --cov-report= --cov-fail-under=0
	$(BIN)/python -m coverage report

kill: development  ## kill -9 of each process TIMES times under load; what it cost, and that nothing is lost; writes build/kill.json
	PYTHONPATH=tests/support:tools $(BIN)/python -m chaos kill --times $(TIMES) --seed $(SEED) --report build/kill.json

chaos: development  ## MINUTES of faults from a SEED, then the proof that nothing is missing; writes build/chaos-SEED.json
	PYTHONPATH=tests/support:tools $(BIN)/python -m chaos run --minutes $(MINUTES) --seed $(SEED) --report build/chaos-$(SEED).json

subscribers: development  ## SUBSCRIBERS for SECONDS at 20,000 ticks/s beside some that misbehave; writes build/subscribers.json
	PYTHONPATH=tests/support:tools $(BIN)/python -m chaos subscribers --others $(SUBSCRIBERS) --seconds $(SECONDS) --report build/subscribers.json

bench: development  ## measure; writes bench/results/latest.json
	$(BIN)/python -m bench

# Environments of their own: what is in them is no part of the project.
PEERS := $(VENV)-peers
FUZZ := $(VENV)-fuzz

bench-peers:  ## measure beside cryptofeed, NautilusTrader, iceoryx2, ArcticDB, chdb and others (some minutes to install); writes bench/results/*peers.json
	@$(MAKE) --no-print-directory runtime VENV=$(PEERS) ALSO="--also bench/peers.lock --also bench/peers-source.lock --also bench/store_peers.lock"
	$(PEERS)/bin/python -m bench peers peer_books ring_peers
	$(PEERS)/bin/python -m bench store_peers

fuzz:  ## MINUTES of inputs that follow the coverage, for the decoders of VENUE (all of them if none is named)
	@$(MAKE) --no-print-directory development VENV=$(FUZZ) ALSO="--also tools/fuzz/fuzz.lock"
	PYTHONPATH=tests/support:tools $(FUZZ)/bin/python -m fuzz --minutes $(MINUTES) --seed $(SEED) $(VENUE)

# What it makes is in the repository, so that nobody else needs Node; tests/process/test_page_build.py holds it equal.
page:  ## build the gateway's page from page/ into gateway/page (needs Node 20.19 or later)
	@command -v npm >/dev/null || { echo "no npm here: install Node 20.19 or later" >&2; exit 1; }
	npm --prefix page ci --no-audit --no-fund
	npm --prefix page run build

# pip-tools is no part of the locks, as it needs a pip of its own. The options of this machine's pip stay out of them.
lock:  ## refresh the locks from pyproject.toml and *.in (UPGRADE=1: to the newest releases)
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check pip-tools==7.6.2
	$(PIP_COMPILE) --build-deps-for editable --output-file requirements.lock pyproject.toml
	$(PIP_COMPILE) --extra dev --extra readers --extra calendars --output-file requirements-dev.lock pyproject.toml requirements.lock
	$(PIP_COMPILE) --output-file bench/peers.lock bench/peers.in
	$(PIP_COMPILE) -c bench/peers.lock -c requirements.lock --output-file bench/store_peers.lock bench/store_peers.in
	$(PIP_COMPILE) --output-file tools/fuzz/fuzz.lock tools/fuzz/fuzz.in
	rm -rf $(VENV)-lock

PIP_COMPILE = $(VENV)-lock/bin/pip-compile --quiet --no-config --generate-hashes --allow-unsafe --no-strip-extras \
    --no-emit-options --no-header $(if $(UPGRADE),--upgrade)

help:  ## list what make can do here
	@sed -n 's/^\([a-z-]*\):.*  ## /  \1\t/p' Makefile | expand -t 16

clean:  ## remove what was installed or generated here
	rm -rf $(VENV) $(VENV)-lock $(PEERS) $(FUZZ) page/node_modules build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* bench/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
