# make demo   build the sample corpora and mixture, and read a batch of them
# make ui     Dagster's UI on what was built
# make test   ruff, codespell, mypy, and all tests
# make docs   the documentation site, in build/site; make docs-serve shows it on http://localhost:8000
# make screenshots  take the pictures of the UI in the documentation again; needs Chromium
# make test-versions  all tests on Python 3.11 and 3.13, and those that need no torch on 3.12
# make soak   what the tests try a handful of, in full: a hundred kills, a thousand examples of each law
# make bench  measure this project against its peers and its limits (bench-text, bench-conversations, bench-batches,
#             bench-mixing, bench-packing, bench-keeping-up, bench-one-large-file, bench-growth, bench-ray,
#             bench-object-store: one of them)

VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
OTHERS := $(BENCH)-streaming $(BENCH)-tokenizers1
PYTHON ?= $(firstword $(foreach version,3.11 3.12 3.13,$(shell python$(version) -c "import venv" 2>/dev/null && command -v python$(version))) python3)
interpreter = $(or $(PYTHON$(1)),python$(1))
EXTRAS := train,pipeline,ray,test
# Processes of the tests: more than twice two cores, because many tests wait for a server.
PROCESSES := 5
export TOKENIZERS_PARALLELISM := true
# The tests start hundreds of processes, which would each compile the package if the environment forbids to keep the result.
export PYTHONDONTWRITEBYTECODE :=
# As the command sets it: the threads of NumPy's library of linear algebra, which nothing uses, would spin when a process starts.
export OPENBLAS_NUM_THREADS := 1

.PHONY: demo ui test test-types test-behaviour docs docs-serve screenshots test-versions test-python3.11 test-python3.12 test-python3.13 soak bench bench-text bench-conversations bench-batches bench-mixing bench-packing bench-keeping-up bench-one-large-file bench-growth bench-ledger bench-ray bench-object-store clean

demo: $(VENV)/installed-pipeline
	$(BIN)/phyagi-assets materialize
	$(BIN)/python examples/first_batch.py

ui: $(VENV)/installed-pipeline
	$(BIN)/phyagi-assets ui

test: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(MAKE) --jobs 2 test-types test-behaviour

test-types: $(VENV)/installed
	$(BIN)/mypy

test-behaviour: $(VENV)/installed
	$(BIN)/pytest --numprocesses $(PROCESSES) --dist loadgroup

docs: $(VENV)/installed
	$(BIN)/python -m docs.site

docs-serve: $(VENV)/installed
	$(BIN)/mkdocs serve

screenshots: $(VENV)/installed
	$(BIN)/python -m docs.screenshots

# An interpreter that is not on the path is named by: make test-versions PYTHON3.13=/path/to/python3.13
test-versions: test-python3.11 test-python3.12 test-python3.13

test-python3.11 test-python3.13: test-python%: $(VENV)-%/installed
	$(VENV)-$*/bin/pytest --numprocesses $(PROCESSES) --dist loadgroup

test-python3.12: $(VENV)-3.12/installed
	$(VENV)-3.12/bin/pytest --numprocesses $(PROCESSES) --dist loadgroup --without-torch

$(VENV)-3.12/installed: EXTRAS := pipeline,ray,test-without-torch

$(VENV)-3.11/installed $(VENV)-3.12/installed $(VENV)-3.13/installed: $(VENV)-%/installed: pyproject.toml constraints.txt
	@$(call interpreter,$*) -c 'import venv' 2>/dev/null || \
		{ echo "make: Python $* is not installed; install it, or name it with: make test-versions PYTHON$*=PATH" >&2; exit 1; }
	$(call interpreter,$*) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python install.py --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

soak: $(VENV)/installed
	$(BIN)/pytest --numprocesses $(PROCESSES) --dist loadgroup --soak

bench: bench-text bench-conversations bench-one-large-file bench-growth bench-ray bench-batches bench-mixing bench-packing bench-keeping-up bench-object-store

bench-text bench-batches bench-object-store: $(OTHERS:=/installed)
bench-text: $(BENCH)/installed
	$(BENCH)/bin/python benchmarks/text_to_cache.py --growth

bench-conversations: $(BENCH)/installed
	$(BENCH)/bin/python benchmarks/conversations.py

bench-one-large-file: $(BENCH)/installed
	$(BENCH)/bin/python benchmarks/one_large_file.py

bench-ledger: $(BENCH)/installed
	$(BENCH)/bin/python benchmarks/loss_ledger.py

bench-growth: $(BENCH)/installed
	$(BENCH)/bin/python benchmarks/growth.py

bench-ray: $(BENCH)/installed
	PYTHONPATH=. $(BENCH)/bin/python benchmarks/ray_cost.py

bench-batches: $(BENCH)/installed
	$(BENCH)/bin/python benchmarks/cache_to_batches.py

bench-mixing: $(BENCH)/installed
	$(BENCH)/bin/python benchmarks/mixing.py

bench-packing: $(BENCH)/installed
	$(BENCH)/bin/python benchmarks/packing.py

bench-keeping-up: $(BENCH)/installed
	PYTHONPATH=. $(BENCH)/bin/python benchmarks/keeping_up.py

bench-object-store: $(BENCH)/installed
	PYTHONPATH=. $(BENCH)/bin/python benchmarks/object_store.py

# The demo needs no torch, which is by far the largest of all packages.
$(VENV)/installed-pipeline: EXTRAS := pipeline
$(VENV)/installed $(VENV)/installed-pipeline: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "this needs Python 3.11 to 3.13; name one with: make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python install.py --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

# As pip does; otherwise the first imports, which are measured, take many times as long. Of the other environments, a fraction is imported,
# and compiled then.
$(BENCH)/installed $(OTHERS:=/installed): export UV_COMPILE_BYTECODE := 1

$(BENCH)/installed: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python install.py --constraint constraints.txt --editable '.[train,pipeline,ray]' \
		--requirement benchmarks/requirements.txt
	touch $@

# The environments of contenders whose versions do not go with the others'. Where one cannot be installed, its contenders are reported as
# such, and the others run.
$(BENCH)-%/installed: benchmarks/requirements-%.txt
	-$(PYTHON) -m venv $(BENCH)-$* && $(BENCH)-$*/bin/python install.py --requirement $< && touch $@

clean:
	rm -rf $(VENV) $(VENV)-3.11 $(VENV)-3.12 $(VENV)-3.13 $(BENCH) $(OTHERS) build data/store
