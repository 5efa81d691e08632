# make demo    set up, then train, test and draw on generated scenes (pictures in output/demo)
# make test    set up, then run the tests (make test ARGS="-k nms")
# make check   ruff and mypy over everything, in seconds (make test does it first)
# make fuzz SECONDS=60    damaged and hostile files to every reader, in child processes; findings go to output/fuzz
# make kill, make soak    trainings ended by kill -9 and gone on with; memory over 15,000 passes of many sizes
# make matrix  the tests under the oldest and the newest numpy, protobuf, h5py, opencv ... that are allowed
# make bench   small nets beside torch modules; fails where a ratio is a tenth above that of docs/benchmarks/suite.json
# make docs    the documentation as a site: build/site/index.html (needs pip install -e '.[docs]' once, from the network)
# make build   set up only: .venv with everything in it, the C++ kernels
# make sanitize    the tests of the C++ kernels under sanitizers: of addresses, of undefined behaviour
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
PIP_ARGS ?=
SECONDS ?= 60
# Threads that wait sleep instead of spinning: far better wherever another program runs, too.
export OMP_WAIT_POLICY ?= passive

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
BUILT := $(VENV)/.kernels
OPS   := caffe-mnc/python/caffe/ops

.PHONY: demo test check bench docs fuzz kill soak matrix build sanitize asan ubsan clean
.DELETE_ON_ERROR:

build: $(BUILT)

demo: build
	$(BIN)/python tools/demo.py --scenes --out output/demo $(ARGS)

test: check
	$(BIN)/python -m pytest $(ARGS)

check: build
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary

bench: build
	$(BIN)/python tools/benchmark.py --suite --cpu --against docs/benchmarks/suite.json $(ARGS)

docs: build
	@$(BIN)/python -c 'import material, mkdocstrings' 2> /dev/null || \
	  $(BIN)/python -m pip install --disable-pip-version-check -q 'mkdocs-material>=9.5' 'mkdocstrings[python]>=0.26'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo build/site/index.html

fuzz: build
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(SECONDS) $(ARGS)

kill soak matrix: build
	$(BIN)/python tests/long/$@.py $(ARGS)

$(STAMP): setup.py pyproject.toml requirements/constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c requirements/constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c requirements/constraints.txt -e '.[test]'
	@touch $@

# Where they cannot be built, everything runs without them; the next make tries again.
$(BUILT): $(STAMP) $(OPS)/_native.pyx $(wildcard caffe-mnc/src/ops/*.cpp caffe-mnc/src/ops/*.hpp)
	$(BIN)/python setup.py -q build_ext --inplace
	@if ls $(OPS)/_native.*.so > /dev/null 2>&1; then touch $@; fi

sanitize: asan ubsan

asan:  FLAGS := -fsanitize=address
ubsan: FLAGS := -fsanitize=undefined,float-cast-overflow -fno-sanitize-recover=all
asan:  export LD_PRELOAD = $(shell $(CXX) -print-file-name=libasan.so) $(shell $(CXX) -print-file-name=libstdc++.so)
asan:  export ASAN_OPTIONS = detect_leaks=0

asan ubsan: build
	LD_PRELOAD= CXXFLAGS="$(FLAGS) -g -DREGION_PLAIN" LDFLAGS="$(FLAGS)" \
	  $(BIN)/python setup.py -q build --build-base build/$@ --build-lib build/$@/lib
	$(BIN)/python -m pytest -o pythonpath=build/$@/lib \
	  tests/caffe/test_ops.py tests/caffe/test_native_ops.py tests/caffe/test_native_masks.py $(ARGS)

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || \
	  { echo "error: no $(PYTHON) here; install Python 3.10 or later, or say make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: $$($(PYTHON) --version) is too old, Python 3.10 or later is needed; say make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "error: no virtual environment could be made; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

clean:
	rm -rf $(VENV) build dist *.egg-info
