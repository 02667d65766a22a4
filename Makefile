PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO := 0

.DEFAULT_GOAL := help
.PHONY: help demo test bench-corpus clean

help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 20

.venv/ready: pyproject.toml requirements.txt
	$(PYTHON) -c 'import sys; sys.exit("Sluice needs Python 3.11 or newer; set PYTHON=python3.x") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

demo: .venv/ready  ## make a corpus, embed it, search it, and write work/demo/report.html
	sluice demo --config configs/demo.yaml

test: .venv/ready  ## ruff, mypy --strict, pytest
	ruff format --check .
	ruff check .
	mypy
	pytest

bench-corpus: .venv/ready  ## time making corpus images against encoding them alone
	sluice bench-corpus

clean:  ## remove what the demo made (the virtual environment stays)
	rm -rf work
