# make demo   build the sample corpora and mixture, and read a batch of them
# make ui     Dagster's UI on what was built
# make test   ruff, mypy, and all tests
# make bench  measure this project against its baseline

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach version,3.11,$(shell command -v python$(version) 2>/dev/null)) python3)
export TOKENIZERS_PARALLELISM := true

.PHONY: demo ui test bench clean

demo: $(VENV)/installed
	$(BIN)/phyagi-assets materialize
	$(BIN)/python examples/first_batch.py

ui: $(VENV)/installed
	$(BIN)/phyagi-assets ui

test: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist loadgroup

bench: $(VENV)/installed
	$(BIN)/python benchmarks/text_to_cache.py

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "this needs Python 3.11; name one with: make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,test]'
	touch $@

clean:
	rm -rf $(VENV) data/store
