# One command each: `make demo` shows the four answers, `make test` checks everything, `make docs` builds
# the site, `make wheel-check` runs the README's commands from a wheel in an empty environment.
.PHONY: demo test lint docs wheel-check clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check

demo: $(VENV)/.core
	$(BIN)/surefoot demo

test: lint
	$(BIN)/python -m pytest -q

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --warnings

# torch goes first and alone: with the exact version named, pip takes the build that fits the machine.
$(VENV)/.core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) -e '.[dev]'
	touch $@

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "site/index.html; with search: $(BIN)/python -m http.server --directory site"

wheel-check: $(VENV)/.core
	$(BIN)/python benchmarks/wheel.py

$(VENV)/.docs: $(VENV)/.core
	$(PIP) -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) site
