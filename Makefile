# make demo   sets up and runs the main job           MODEL=signs: with that network, or the model folder of that path
#                                                     make bench  the measurements behind README's tables
# make test   sets up and passes the tests            make lint   ruff and mypy
# make test-data CIFAR10_DIR=DIR SIGNS_DIR=DIR  the tests that need CIFAR-10, the hand-sign digits, or one of them: nothing is downloaded
# make paper  the tables and figures under reports/, over hours; goes on where it was stopped (QUICK=1: on a few images)
# make flash-kit BUNDLE=build/vgg16 BOARD=pi-bookworm|pi-trixie|jetson-nano|orin-jp6 [OUT=FILE]  one archive to install on a board
# make test-aarch64  installs such a kit in an emulated board (Linux, root)    make test-kit36 PYTHON36=...  the same for Python 3.6
# make interop       NVIDIA's client, a Triton server and a KServe server against ours, in an environment of its own (1 GB)
# make cluster       the host on Ray Serve, in an environment of its own (0.8 GB)    make fuzz  the readers under atheris, a minute each
# make faults        what becomes of frames while host and network fail (Linux; the bad network needs root)
# make fleet         how many devices one host serves: clean, attacked, behind DefQ (25 minutes on two quiet cores, CIFAR-10)
# make hostile BUNDLE=build/vgg16 [CHECKOUT=DIR]  what honest clients see of the host while hostile ones are at work (Linux)
# make docs          the documentation as a site in build/site, in an environment of its own; a broken link fails
# Needs Python >= 3.10 as $(PYTHON) and a package index. PYTHON36=... also runs tests/device on Python 3.6.

PYTHON ?= python3
VENV ?= .venv
VENV36 ?= .venv36
RUN := $(VENV)/bin/python

.PHONY: cluster docs faults fleet fuzz interop demo hostile test test-data test36 test-kit36 test-aarch64 flash-kit bench paper lint clean

demo: $(VENV)/.host
	$(RUN) -m export demo $(if $(MODEL),--model "$(MODEL)")

test: $(VENV)/.tests
	$(RUN) -m pytest
	@$(MAKE) --no-print-directory test36
ifndef CIFAR10_DIR
	@echo "the tests that need CIFAR-10 were not run: make test-data CIFAR10_DIR=DIR does so"
endif

test-data: $(VENV)/.tests
ifneq ($(CIFAR10_DIR)$(SIGNS_DIR),)
	$(RUN) -m pytest -m data -rs
else
	@echo "found neither CIFAR10_DIR nor SIGNS_DIR; expected the folder of CIFAR-10, of the hand-sign digits, or both: make test-data CIFAR10_DIR=DIR SIGNS_DIR=DIR"; exit 2
endif

test36:
ifdef PYTHON36
	@$(MAKE) --no-print-directory $(VENV36)/.device
	$(VENV36)/bin/python -m pytest -p no:cacheprovider tests/device
else
	@echo "tests/device were not run on Python 3.6: set PYTHON36 to such an interpreter to do so"
endif

test-aarch64: $(VENV)/.tests
	TEST_AARCH64=1 $(RUN) -m pytest -rs tests/aarch64

test-kit36: $(VENV)/.tests
ifdef PYTHON36
	TEST_KIT36="$(PYTHON36)" $(RUN) -m pytest -rs tests/kit/test_python36.py
else
	@echo "the kit for Python 3.6 was not tried: set PYTHON36 to such an interpreter to do so"
endif

docs:
	$(PYTHON) -m venv build/venv-docs
	build/venv-docs/bin/pip install -q -r docs/requirements.txt
	NO_MKDOCS_2_WARNING=1 build/venv-docs/bin/mkdocs build --strict --quiet

interop:
	$(PYTHON) -m venv build/venv-interop
	build/venv-interop/bin/pip install -q -r tests/interop/requirements.txt
	build/venv-interop/bin/python -m pytest tests/interop -rs

cluster:
	$(PYTHON) -m venv build/venv-cluster
	build/venv-cluster/bin/pip install -q -r tests/cluster/requirements.txt
	build/venv-cluster/bin/python -m pytest tests/cluster -rs

fuzz:
	$(PYTHON) -m venv build/venv-fuzz
	build/venv-fuzz/bin/pip install -q -r tests/fuzz/requirements.txt
	build/venv-fuzz/bin/python -m tests.fuzz $(if $(SECONDS_EACH),--seconds $(SECONDS_EACH))

faults: $(VENV)/.tests
	TEST_FAULTS=1 $(RUN) -m pytest tests/faults -rs

fleet: $(VENV)/.bench
	$(RUN) -m bench.fleet --out reports/fleet $(if $(QUICK),--model mobilenet --seconds 3)

hostile: $(VENV)/.host
	$(RUN) -m bench.hostile --bundle "$(BUNDLE)" $(if $(CHECKOUT),--checkout "$(CHECKOUT)")

flash-kit: $(VENV)/.host
	@$(RUN) -m export kit --bundle "$(BUNDLE)" --board "$(BOARD)" $(if $(OUT),--out "$(OUT)")

paper: $(VENV)/.host
	$(RUN) -m export evaluate --paper --compare --frontier --adaptive --transfer --monitor $(if $(QUICK),--quick)

bench: $(VENV)/.bench
	$(RUN) -m bench

lint: $(VENV)/.lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf build demo *.egg-info $(VENV) $(VENV36)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "found Python %d.%d; expected 3.10 or newer: make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.host: requirements-host.txt requirements-device.txt pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/pip install -q -r requirements-host.txt
	$(VENV)/bin/pip install -q --no-deps -e .
	touch $@

$(VENV)/.tests: tests/requirements.txt $(VENV)/.host
	$(VENV)/bin/pip install -q -r tests/requirements.txt
	touch $@

$(VENV)/.lint: tests/requirements-lint.txt $(VENV)/.tests
	$(VENV)/bin/pip install -q -r tests/requirements-lint.txt
	touch $@

$(VENV)/.bench: bench/requirements.txt $(VENV)/.host
	$(VENV)/bin/pip install -q -r bench/requirements.txt
	touch $@

# pip 21.3.1 is the last for Python 3.6; what ships with it sees no wheels
$(VENV36)/.device: requirements-device.txt
	$(PYTHON36) -m venv $(VENV36)
	$(VENV36)/bin/pip install -q pip==21.3.1
	$(VENV36)/bin/pip install -q -r requirements-device.txt pytest==7.0.1
	touch $@
