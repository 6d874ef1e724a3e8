# The verbs that README.md and .ci/run use. `make` alone lists them.
PYTHON ?= python3
RUN := .venv/bin/python
SOURCES := setup.py build_ffi.py pyproject.toml $(wildcard cdef/*)

.PHONY: help setup demo check test python hosts sanitize fuzz conformance bench bench-kmip clean

help:
	@echo 'setup   Debian packages (as root), .venv, the library; safe to repeat'
	@echo 'demo    the main job: set up a token, enable it, let three consumers unwrap the CLDB key'
	@echo 'check   formatting, lint, types, import rules'
	@echo 'test    all tests, with branch coverage'
	@echo 'python  the tests of all calls with the data path off: Python serves them all'
	@echo 'hosts   the forks, exits and threads of tests/host: 2,000 forks, 500 exits, 100,000 threads of each kind'
	@echo 'sanitize the hosts of tests/host under AddressSanitizer and valgrind: one line a host (25 minutes)'
	@echo 'fuzz    each call with each fault, then N=100000 with arguments by chance, SEED=1'
	@echo 'conformance  independent suites and real consumers; what is not installed is skipped'
	@echo 'bench   our library, SoftHSM2 and bare libcrypto in one run: bench/results/, the plot in README (12 minutes)'
	@echo 'bench-kmip  codec and session layer beside others'

setup: .venv/ready

.venv/ready: tools/setup.sh $(SOURCES)
	PYTHON='$(PYTHON)' sh tools/setup.sh
	@touch $@

demo: setup
	$(RUN) demo/demo.py

check: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

test: setup
	$(RUN) -m coverage erase
	$(RUN) -m pytest -n 2 --dist loadgroup --cov --cov-report=term:skip-covered --cov-report=

python: setup
	MRHSM_DATAPATH=0 $(RUN) -m pytest -n 2 --dist loadgroup tests/matrix tests/functions tests/crypto

hosts: setup
	MRHSM_HOSTS_LONGER=50 $(RUN) -m pytest tests/host/test_hosts.py tests/host/test_races.py tests/host/test_python_forks.py \
		-q -o timeout=0

sanitize: setup
	$(RUN) tools/sanitize.py

N ?= 100000
SEED ?= 1
fuzz: setup
	$(RUN) tools/fuzz.py faults --build address
	$(RUN) tools/fuzz.py faults --build address --isolation process
	$(RUN) tools/fuzz.py calls --calls $(N) --seed $(SEED) --strict
	$(RUN) tools/fuzz.py calls --calls $(N) --seed $(SEED) --strict --isolation process
	$(RUN) tools/fuzz.py walks --calls $(N) --seed $(SEED) --build address

conformance: setup
	$(RUN) conformance/run.py

bench: setup
	$(RUN) bench/run.py
	$(RUN) bench/processes.py

bench-kmip: setup
	$(RUN) bench/kmip_codec.py
	$(RUN) bench/kmip_session.py
	$(RUN) bench/kmip_many.py 300

clean:
	rm -rf .venv build dist src/*.egg-info src/mrhsm_p11/*.so
