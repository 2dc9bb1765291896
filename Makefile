# Each target sets up what it needs in .venv; PYTHON chooses the interpreter it is made from.
PYTHON ?= python3
unexport PYTHONPATH  # another checkout of this package would be imported in place of the one that is installed
BIN := .venv/bin
PEERS := .venv-peers
LOWEST := .venv-lowest
LOWEST_PYTHON ?= python3.11
LOWEST_INSTALL = $(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --upgrade --resolution lowest-direct
WHEEL := .venv-wheel

.PHONY: demo test quick coverage test-lowest test-wheel parity lint format docs bench bench-paper-tiny clean

demo: .venv/yamnet
	$(BIN)/agm score examples/generated examples/reference --protocol yamnet

test: .venv/dev
	$(BIN)/pytest -n auto --dist loadfile

quick: .venv/dev
	$(BIN)/pytest -n auto --dist loadfile -m "not slow and not peers"

# Before a release: which lines and branches the suite runs, also in the processes that it starts; takes longer than make test.
# Fails below the floor of pyproject.toml.
coverage: .venv/dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto --dist loadfile $(PYTEST)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Before a release: the suite with the lowest versions that pyproject.toml allows, on the lowest Python.
# The hub's client asks for newer transformers and diffusers than audioldm does, and diffusers for a newer safetensors than
# the core does: the bounds of both have runs of their own.
# datasets takes any pyarrow, and from 23 on pyarrow does not work with the lowest numpy.
test-lowest: $(LOWEST)/bin/uv
	$(LOWEST_INSTALL) -e '.[test]' 'pyarrow==22.*'
	AGM_LOWEST=test $(LOWEST)/bin/pytest -n auto --dist loadfile $(PYTEST)
	$(LOWEST_INSTALL) -e '.[audioldm]'
	AGM_LOWEST=audioldm $(LOWEST)/bin/pytest -n auto --dist loadfile $(PYTEST) tests/audioldm tests/backbones tests/generation tests/test_packaging.py
	$(LOWEST_INSTALL) -e '.[yamnet]'
	AGM_LOWEST= $(LOWEST)/bin/pytest -n auto --dist loadfile $(PYTEST) tests/embedding tests/backbones tests/test_packaging.py

# Before a release: what would be uploaded, made of the last commit alone and left in dist/. The sdist's tests run against
# the installed wheel in a folder elsewhere, without the package's source, which would be imported in its place; so do
# the type checkers of tests/typing.
test-wheel:
	rm -rf $(WHEEL) dist
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python -m pip install --quiet --disable-pip-version-check 'build>=1.2'
	set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	mkdir "$$folder/commit" "$$folder/sdist"; \
	git archive HEAD | tar -x -C "$$folder/commit"; \
	$(WHEEL)/bin/python -m build --outdir dist "$$folder/commit"; \
	$(WHEEL)/bin/python -m pip install --quiet --disable-pip-version-check "$$(echo dist/*.whl)[test,typing]"; \
	tar -xzf dist/*.tar.gz -C "$$folder/sdist" --strip-components 1; \
	mv "$$folder/sdist/audiogen_metrics" "$$folder/not-imported"; \
	cd "$$folder/sdist"; \
	$(CURDIR)/$(WHEEL)/bin/pytest -n auto --dist loadfile $(PYTEST) --pyargs ./tests audiogen_metrics

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
	rm -rf .venv $(PEERS) $(LOWEST) $(WHEEL) dist build docs/_build

# A stamp per extra: an environment is installed once, and again when the project file changes.
.venv/%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv; the first time this downloads about 3 GB"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	touch $@

$(LOWEST)/bin/uv:
	$(LOWEST_PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'

$(PEERS)/installed: tests/peers/requirements.txt tests/peers/requirements-alone.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/peers/requirements.txt
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/peers/requirements-alone.txt
	touch $@
