# make run   a working call server with a page to call from
# make test  everything that tests need, and the tests
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOURCES := $(shell find rtp_core -name '*.pyx' -o -name '*.pxd') setup.py

.PHONY: run test test-faults ext lint bench clean browsers

run: .stamp-run
	@exec $(BIN)/tandem serve --dev --data-dir .tandem $(ARGS)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

.stamp-run: pyproject.toml $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.stamp-test: pyproject.toml $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ .stamp-run

# While working on the core: rebuild in place; TANDEM_ONLY=srtp,stun narrows it.
ext: | $(BIN)/python
	$(BIN)/python -m pip install --quiet 'setuptools>=80' 'Cython>=3.3,<3.4'
	flock .build.lock $(BIN)/python setup.py --quiet build_ext --inplace

browsers:
	@sh tests/harness/install_browsers.sh

test: .stamp-test browsers
	$(BIN)/python -m pytest $(ARGS)

# What a packet costs and how long it takes; ARGS=--full for every size (docs/benchmarks.md).
bench: .stamp-test
	$(BIN)/python -m bench $(ARGS)

# The whole fault suite of the database: 200 seeded cases; `make test` runs a short set of it.
test-faults: .stamp-test
	TANDEM_FAULT_CASES=200 $(BIN)/python -m pytest tests/faults $(ARGS)

lint: .stamp-test
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf build *.egg-info .stamp-* $(VENV)
	find rtp_core -name '*.c' -delete -o -name '*.so' -delete
