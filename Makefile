# make bench and make test set everything up in .venv when it is missing, and run.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: bench test lint clean

bench: $(STAMP)
	$(VENV)/bin/python -m bench run

# Two at once, file by file: what a file has set up or compiled is there for all of its tests. The
# reference's small products are NumPy's, whose threads would wait for each other on two busy cores.
test: $(STAMP)
	OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# Written last, so that an installation that was cut short is done again.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
