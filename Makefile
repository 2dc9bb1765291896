# Each target sets up what it needs in .venv; PYTHON chooses the interpreter it is made from.
PYTHON ?= python3
BIN := .venv/bin
PEERS := .venv-peers

.PHONY: demo test parity lint format docs bench bench-paper-tiny clean

demo: .venv/yamnet
	$(BIN)/agm score examples/generated examples/reference --protocol yamnet

test: .venv/dev
	$(BIN)/pytest -n auto --dist loadfile

# Runs the peers themselves, in an environment of their own, and writes docs/parity.md.
parity: .venv/dev $(PEERS)/installed
	AGM_PEERS_PYTHON=$(CURDIR)/$(PEERS)/bin/python $(BIN)/pytest tests/peers

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/dev
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html
	@echo "docs/_build/html/index.html"

# Ours beside the peers, alternately; takes about an hour. BENCH=--quick takes minutes and keeps nothing.
bench: .venv/dev $(PEERS)/installed
	$(BIN)/python benchmarks/run.py --peers-python $(PEERS)/bin/python $(BENCH)

bench-paper-tiny: .venv/dev
	$(BIN)/python -m benchmarks.paper_tiny build/paper-tiny

clean:
	rm -rf .venv $(PEERS) dist build docs/_build

# A stamp per extra: an environment is installed once, and again when the project file changes.
.venv/%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv; the first time this downloads about 3 GB"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	touch $@

$(PEERS)/installed: tests/peers/requirements.txt tests/peers/requirements-alone.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/peers/requirements.txt
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/peers/requirements-alone.txt
	touch $@
