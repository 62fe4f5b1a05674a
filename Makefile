# Every target does its own set-up in .venv; PYTHON names the interpreter to make it from (3.11 to 3.13).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without TensorFlow: what passes there needs none.
BACKENDS := .venv-backends
# With an older protobuf, which Apache Beam wants.
BEAM := .venv-beam
export TF_CPP_MIN_LOG_LEVEL ?= 3
# Compiling takes most of the time of the tests on JAX, and half of that with these. Level 0 gives wrong gradients.
QUICK_XLA := XLA_FLAGS="--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1"
# Two processes of pytest; one that has no tests left takes half of what the other still has. TensorFlow keeps much
# memory after tests of large networks, so each round of tests gets new processes.
IN_PARALLEL := $(BIN)/python -m pytest --numprocesses=2 --dist=worksteal
ON_BACKENDS := $(BACKENDS)/bin/python -m pytest --numprocesses=2 --dist=worksteal
LAYERS := $(wildcard tests/test_benchmarks_*.py tests/test_keras_nonlocal_*.py)
EXPORTS := $(wildcard tests/test_savedmodels_*.py)
PROGRAMS := $(filter-out $(LAYERS) $(EXPORTS),$(wildcard tests/test_*.py))

define check_python
@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
  f"Expected Python 3.11 to 3.13. Received {v[0]}.{v[1]}. Try: make PYTHON=python3.11")'
endef

.PHONY: demo test test-all test-backends test-backends-all test-beam lint bench mutants clean

demo: $(VENV)/installed
	$(BIN)/python -m train.demo

# Everything but what is marked `long`; test-all has everything.
test: $(VENV)/installed
	$(IN_PARALLEL) -m "not long" $(LAYERS)
	$(IN_PARALLEL) -m "not long" $(EXPORTS) $(PROGRAMS)

test-all: $(VENV)/installed
	$(IN_PARALLEL) $(LAYERS)
	$(IN_PARALLEL) $(EXPORTS)
	$(IN_PARALLEL) $(PROGRAMS)

# Without what is marked `long`, likewise.
test-backends: CHOSEN := -m "not long"
test-backends test-backends-all: $(BACKENDS)/installed
	$(QUICK_XLA) KERAS_BACKEND=jax $(ON_BACKENDS) $(CHOSEN) tests/test_keras_nonlocal_*.py
	KERAS_BACKEND=torch $(ON_BACKENDS) $(CHOSEN) tests/test_keras_nonlocal_*.py

test-beam: $(BEAM)/installed
	$(BEAM)/bin/python -m pytest tests/test_pipelines_records_prepare.py tests/test_pipelines_builders.py -k 'beam or command_line'

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[bench]' --constraint constraints.txt
	for name in blocks inference training decoding augmentation records pipeline checkpoints trainer; do $(BIN)/python benchmarks/$$name.py || exit 1; done

# Hours. It goes on where it stopped; build/mutants keeps what is done.
mutants: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[mutants]' --constraint constraints.txt
	$(BIN)/python benchmarks/mutants.py

$(VENV)/installed: setup.cfg constraints.txt
	$(check_python)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	touch $@

$(BACKENDS)/installed: constraints.txt
	$(check_python)
	$(PYTHON) -m venv $(BACKENDS)
	$(BACKENDS)/bin/python -m pip install --quiet keras numpy jax torch pytest pytest-xdist --constraint constraints.txt
	touch $@

$(BEAM)/installed: setup.cfg constraints-beam.txt
	$(check_python)
	$(PYTHON) -m venv $(BEAM)
	$(BEAM)/bin/python -m pip install --quiet --editable '.[beam]' dill pytest --constraint constraints-beam.txt
	touch $@

clean:
	rm -rf $(VENV) $(BACKENDS) $(BEAM) build dist runs *.egg-info
