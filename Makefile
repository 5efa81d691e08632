# make demo    set up, then train, test and draw on generated scenes (pictures in output/demo)
# make test    set up, then run the tests (make test ARGS="-k nms")
# make build   set up only: .venv with everything in it
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
PIP_ARGS ?=
# Threads that wait sleep instead of spinning: far better wherever another program runs, too.
export OMP_WAIT_POLICY ?= passive

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test build clean
.DELETE_ON_ERROR:

build: $(STAMP)

demo: build
	$(BIN)/python tools/demo.py --scenes --out output/demo $(ARGS)

test: build
	$(BIN)/python -m pytest $(ARGS)

$(STAMP): setup.py pyproject.toml requirements/constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c requirements/constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c requirements/constraints.txt -e '.[test]'
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || \
	  { echo "error: no $(PYTHON) here; install Python 3.10 or later, or say make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: $$($(PYTHON) --version) is too old, Python 3.10 or later is needed; say make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "error: no virtual environment could be made; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

clean:
	rm -rf $(VENV) build dist *.egg-info
