# tickplant: everything a newcomer needs is `make run` and `make test`.
.DELETE_ON_ERROR:
.PHONY: run test check kernels-plain kernels-checked chaos subscribers bench lock clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONFIG ?=
MINUTES ?= 1
SEED ?= 1

# The stamp is newer than the lock exactly when the environment holds what the lock says.
READY := $(VENV)/.ready

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tickplant needs Python 3.11 or later; set PYTHON=/path/to/python3.11")'
	@echo "installing tickplant into $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(READY)  ## launch the demo plant (CONFIG=file for another)
	@$(BIN)/tickplant up $(if $(CONFIG),-c $(CONFIG))

check: $(READY)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check  ## check, then every test; the kernels again as plain Python and with bounds checks
	@rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report= --cov-fail-under=0
	@echo "the kernels again, as plain Python and with bounds checks (a minute, side by side)"
	@$(MAKE) --no-print-directory -j 2 -O kernels-plain kernels-checked
	$(BIN)/python -m coverage report

kernels-plain: $(READY)
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -m kernels --cov --cov-append --cov-report= --cov-fail-under=0

kernels-checked: $(READY)
	NUMBA_BOUNDSCHECK=1 $(BIN)/python -m pytest -m kernels

chaos: $(READY)  ## MINUTES of faults from a SEED, then the proof that nothing is missing; writes build/chaos-SEED.json
	PYTHONPATH=tests $(BIN)/python -m chaos run --minutes $(MINUTES) --seed $(SEED) --report build/chaos-$(SEED).json

subscribers: $(READY)  ## 50 subscribers at 20,000 ticks/s beside some that misbehave; writes build/subscribers.json
	PYTHONPATH=tests $(BIN)/python -m chaos subscribers --report build/subscribers.json

bench: $(READY)  ## measure; writes bench/results/latest.json
	$(BIN)/python -m bench

lock:  ## refresh requirements.lock from pyproject.toml
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check pip-tools
	$(VENV)-lock/bin/pip-compile --quiet --extra dev --generate-hashes --allow-unsafe --strip-extras \
	    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header \
	    --output-file requirements.lock pyproject.toml
	rm -rf $(VENV)-lock

clean:  ## remove what was installed or generated here
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* bench/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
