# The project's vocabulary: quickstart, test, check, test-slow, bench, bench-train, bench-gpu, docs.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: quickstart test check test-slow bench bench-train bench-gpu docs clean

quickstart: $(VENV)/.installed  ## Install, then run the tiny recipe through all stages.
	$(BIN)/dprkit run --recipe tiny
	@echo
	@echo "Everything is in runs/tiny: the retriever in model/, the vectors in embeddings/,"
	@echo "the index in index/, rankings and metrics in results/. Try:"
	@echo "    echo 'how tall is mount kilimanjaro' | $(BIN)/dprkit search --questions - --topk 3"

test: check  ## What CI runs: format, lint, types, docs, tests.
	$(BIN)/pytest -n 2 --dist worksteal

check: $(VENV)/.installed-dev  ## Format, lint, types and generated docs, without the tests.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m dprkit.cli.reference --check docs/cli.md

test-slow: $(VENV)/.installed-dev  ## The tests that take longer.
	$(BIN)/pytest -m slow -n 2 --dist worksteal

bench: $(VENV)/.installed-dev  ## The benchmarks of docs/performance.md.
	$(BIN)/python benchmarks/select_data.py
	$(BIN)/python benchmarks/answers.py
	$(BIN)/python benchmarks/rows.py
	$(BIN)/python benchmarks/passages.py
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/exact.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/busy.py

bench-train: $(VENV)/.installed-dev  ## A training step beside sentence-transformers': MODEL=... EXAMPLES=...
	$(BIN)/python benchmarks/train_step.py $(MODEL) $(EXAMPLES) --large 256

bench-gpu: $(VENV)/.installed-dev  ## Training on a GPU against its peak.
	$(BIN)/python benchmarks/gpu.py

docs: $(VENV)/.installed-dev  ## Write docs/cli.md anew from the commands.
	$(BIN)/python -m dprkit.cli.reference docs/cli.md

clean:
	rm -rf $(VENV) runs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.installed
