# Each target sets up what it needs in $(VENV); nothing outside of this folder is touched.
#   make demo    real inference on a short clip, pictures in demo/
#   make test    all tests
#   make lint    linters, formats (C++ as well) and the type checker; git hooks run it after .venv/bin/pre-commit install
#   make bench   measurements against physical limits (docs/benchmarks.md)
#   make bench-cuda  all that needs a GPU: tests, kernels, model, training step, as tables to paste
#   make docs    the documentation, in docs/_build/html; a warning is an error
#   make package sdist and wheel in dist/, tried in an empty environment
#   make test-reference  the tests of models, on an installation without compiled kernels
# Tests run in two processes of one thread each.
# A CPU-only torch is a small download: make test TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
TESTS ?= tests

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INDEX := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX),)
KERNELS := $(wildcard video_mask2former/ops/csrc/*)

PYTEST := OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m pytest --quiet --numprocesses 2 --dist loadfile
REFERENCE := $(CURDIR)/build/reference
REFERENCE_TESTS := ops/test_extension.py test_rle.py ops/test_ms_deform_attn.py ops/test_ms_deform_attn_reference.py \
  models/test_published_numbers.py models/test_video_mask2former.py engine/test_video_training.py \
  recipes/test_api.py cli/test_predict.py

.PHONY: install demo test test-reference test-cuda lint format bench bench-cuda docs package clean

install: $(STAMP)

$(STAMP): pyproject.toml setup.py $(KERNELS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, this is " + sys.version.split()[0] + "; name another with: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=77" wheel
	$(BIN)/python -m pip install --quiet $(INDEX) "$(TORCH)"
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[train,dev]"
	$(BIN)/python -m pip install --quiet --no-deps "trackers>=2.6"  # its OpenCV would write over ours
	@touch $@

demo: $(STAMP)
	$(BIN)/python tools/demo.py

test: $(STAMP)
	$(PYTEST) $(TESTS)

# Python finds the package in the working folder before the one that is installed in $(VENV)
test-reference: $(STAMP)
	rm -rf build/lib $(REFERENCE)
	VM2F_SKIP_EXTENSION=1 $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target $(REFERENCE) .
	cd $(REFERENCE) && $(abspath $(BIN))/python -c 'import video_mask2former; print(video_mask2former.ops.extension_status())' | grep 'kernels: none; they were not built'
	cd $(REFERENCE) && PYTHONPATH=$(REFERENCE) $(PYTEST) $(addprefix $(CURDIR)/tests/,$(REFERENCE_TESTS))

test-cuda: $(STAMP)
	REQUIRE_CUDA=1 $(BIN)/python -m pytest --quiet -m cuda tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(KERNELS)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(KERNELS)

bench: $(STAMP)
	$(BIN)/python tools/benchmark.py

bench-cuda: $(STAMP)
	$(BIN)/python tools/benchmark.py --device cuda

# The package is already there, with its kernels: only what builds the pages is new
$(VENV)/.installed-docs: $(STAMP)
	VM2F_SKIP_EXTENSION=1 $(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[docs]"
	@touch $@

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -b html -W --keep-going -n -q docs docs/_build/html
	@echo docs/_build/html/index.html

package: $(STAMP)
	$(BIN)/python .ci/check_package.py dist $(INDEX) --torch "$(TORCH)"

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info demo .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find video_mask2former -name '*.so' -delete
