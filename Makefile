# pellucid: `make help` lists the targets. They all work on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
BENCH  := .venv-bench
# Options of test-oldest and test-newest: --keep, --python PATH.
SUPPORT ?=
COVERED := src/pellucid/core/*,src/pellucid/models/*,src/pellucid/methods/*,src/pellucid/metrics/*,src/pellucid/xai/*

.DEFAULT_GOAL := help
.PHONY: help install demo test test-release test-gpu test-pacs test-viewer test-oldest test-newest lint format docs bench mutate clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

install: $(READY)  ## create the environment (.venv, about 6 GB, most of it PyTorch)

demo: $(READY)  ## write a page of explanations of images whose findings are known, into demo-output
	$(BIN)/pellucid demo --output demo-output

# Processes that tests start read the package compiled, which takes a tenth less than to compile it in each.
test test-release: export PYTHONDONTWRITEBYTECODE =

test: $(READY)  ## run the tests with coverage (a quarter of an hour on two cores)
	$(BIN)/python -m pytest -n 2 --cov --cov-report= --durations=10
	$(BIN)/coverage report --include='$(COVERED)' --fail-under=95

test-release: $(READY)  ## run the tests that take minutes, before a release
	$(BIN)/python -m pytest -n 2 -m release --durations=10

test-gpu: $(READY)  ## run the tests that need a GPU, before a release (3 minutes)
	$(BIN)/python -m pytest -m gpu tests/gpu --durations=10

test-pacs: $(READY)  ## run the tests that need an archive (Orthanc, which apt-get installs)
	scripts/test_pacs.sh

test-viewer: $(READY)  ## look at the DICOM objects in a real viewer, into docs/results/viewers.md (6 minutes)
	scripts/test_viewer.sh

test-oldest: $(READY)  ## test with the oldest versions that are promised, into docs/support.md (30 minutes, 20 GB for a while)
	$(BIN)/python -m scripts.support oldest $(SUPPORT)

test-newest: $(READY)  ## test with the newest versions and Python, into docs/support.md (30 minutes, 20 GB for a while)
	$(BIN)/python -m scripts.support newest $(SUPPORT)

lint: $(READY)  ## check style (ruff), types (mypy) and imports between packages (import-linter)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python hatch_build.py
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## fix style and format the code (ruff)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(BENCH)/.ready  ## measure time and memory beside grad-cam, captum and torch-cam, for docs/performance (an hour)
	$(BENCH)/bin/python -W ignore -m benchmarks.speed
	$(BENCH)/bin/python -W ignore -m benchmarks.folder
	$(BENCH)/bin/python -W ignore -m benchmarks.medical
	$(BENCH)/bin/python -W ignore -m benchmarks.evaluation
	$(BENCH)/bin/python -W ignore -m benchmarks.evaluation_remade

# An environment with the other libraries, in which the packages of .venv are importable, too.
$(BENCH)/.ready: $(READY)
	$(PYTHON) -m venv $(BENCH)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(BENCH)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	$(BENCH)/bin/python -m pip install --quiet scikit-learn pycocotools
	$(BENCH)/bin/python -m pip install --quiet --no-deps grad-cam ttach torchcam quantus \
		foolbox eagerpy GitPython gitdb smmap
	@touch $@

mutate: $(READY)  ## mutation testing: list the changes to the methods that no replica detects (30 minutes)
	OMP_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/mutmut results

clean:  ## remove everything that make created, including the environment
	rm -rf $(VENV) $(BENCH) .viewer demo-output site docs/.cache mutants dist .coverage* .mypy_cache .ruff_cache .import_linter_cache .hypothesis
