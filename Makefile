# Every target sets up .venv by itself, again only when pyproject.toml or constraints.txt change.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test learn wheel docs bench floors mutants clean

demo: $(STAMP)  ## every system on sample input: one HTML page, offline
	$(BIN)/percepta demo

# Two OpenMP threads in each of two busy processes can be a hundred times slower than one.
test: $(STAMP)  ## style, types, then all tests but those that train
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --jaxtyping-packages=percepta,beartype.beartype tests --ignore tests/learn

learn: $(STAMP)  ## every system learns its synthetic world within a minute
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 tests/learn

wheel: $(STAMP)  ## the built wheel alone, in an empty environment: README's first commands
	$(BIN)/python tests/wheel.py

docs: $(STAMP)  ## the API reference in docs/api, from the docstrings
	$(BIN)/python docs/api.py

bench: $(STAMP)  ## ratios against what a user would pick instead, into benchmarks/results; wants an idle machine
	@set -e; for file in $$(grep -l __main__ benchmarks/*.py); do echo "== $$file"; $(BIN)/python $$file; done

# uv alone can choose the lowest versions. Not in CI: it needs the network and half an hour.
floors:  ## the lowest versions that pyproject.toml allows, in an environment of its own, hold what users meet
	$(PYTHON) -m venv .venv-floors
	.venv-floors/bin/pip install --quiet uv
	.venv-floors/bin/uv pip install --quiet --python .venv-floors/bin/python --resolution lowest-direct \
		-e ".[data,demo,export,search,slam,web]" "pytest>=8.3" "hypothesis>=6.100" "beartype>=0.20" "httpx2>=2.0"
	OMP_NUM_THREADS=1 .venv-floors/bin/python -m pytest -q \
		tests/test_cli.py tests/test_media.py tests/test_video.py tests/test_export.py tests/test_contract.py

# cosmic-ray is put beside .venv, not into it. Not in CI: an hour.
mutants: $(STAMP)  ## small faults in the source, and whether the module's own tests notice them
	$(BIN)/pip install --quiet --upgrade --target build/mutants/tools "cosmic-ray>=8.4,<9"
	$(BIN)/python tests/mutants.py

clean:  ## removes what can be made again; leaves runs/ and out/ alone
	rm -rf .venv .venv-floors build dist .pytest_cache .ruff_cache .hypothesis
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first and alone: pip then takes a CPU build where one is at hand, and nothing later replaces it.
$(STAMP): pyproject.toml constraints.txt Makefile
	@echo "Setting up .venv (once, a few minutes where torch has to be downloaded)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev,data,demo,export,scale,search,slam,web]"
	@touch $@
