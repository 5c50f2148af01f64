# `make demo` and `make test` each do all their set-up; a second call starts in seconds.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/

.PHONY: demo test test-full check clean

demo: $(VENV)/installed
	$(RUN)python -m pipelines.demo

# Two processes of one thread each: OpenMP's threads wait for each other, which costs most where cores are shared.
test: $(VENV)/installed-dev check
	OMP_NUM_THREADS=1 $(RUN)python -m pytest -m "not full" -n 2 --dist loadfile

test-full: $(VENV)/installed-dev check
	OMP_NUM_THREADS=1 $(RUN)python -m pytest

check: $(VENV)/installed-dev
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy
	$(RUN)lint-imports

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(RUN)python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(RUN)python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
