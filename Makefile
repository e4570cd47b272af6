# make demo   build the sample corpora and mixture, and read a batch of them
# make ui     Dagster's UI on what was built
# make test   ruff, mypy, and all tests
# make bench  measure this project against its baselines (bench-text, bench-batches, bench-mixing: one of them)

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach version,3.11 3.12 3.13,$(shell python$(version) -c "import venv" 2>/dev/null && command -v python$(version))) python3)
export TOKENIZERS_PARALLELISM := true

.PHONY: demo ui test bench bench-text bench-batches bench-mixing clean

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

bench: bench-text bench-batches bench-mixing

bench-text: $(VENV)/installed
	$(BIN)/python benchmarks/text_to_cache.py

bench-batches: $(VENV)/installed
	$(BIN)/python benchmarks/batches.py

bench-mixing: $(VENV)/installed
	$(BIN)/python benchmarks/mixing.py

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "this needs Python 3.11 to 3.13; name one with: make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,test]'
	touch $@

clean:
	rm -rf $(VENV) data/store
