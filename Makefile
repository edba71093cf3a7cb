# make demo: search MovieLens and show the front.   make test: lint, types and all tests.   make fast: the quick tests.
# All build the same .venv from constraints.txt; a second call goes straight to work.
PYTHON ?= python3
BIN := .venv/bin

# A process for each core, at most 8. A file stays in one process, so that what its tests share is made once; those that
# take longest come first (tests/conftest.py).
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 8 ? n : 8)))
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

unexport PYTHONDONTWRITEBYTECODE # what is compiled then is kept
.NOTPARALLEL: # one pip at a time

.PHONY: demo test fast clean

demo: .venv/installed
	$(BIN)/autoprune task=movielens requirements=none requirements.quality.drop=5% requirements.worst_slice.drop=20% \
		'study.objectives=[quality,size]' study.looks=300 study.verify_rounds=3 \
		study.latency_seconds=0.2 study.name=demo

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "$(BIN)/mypy & $(PYTEST)"; $(BIN)/mypy & types=$$!; $(PYTEST); passed=$$?; \
		wait $$types || { echo "mypy found errors, see above"; exit 1; }; exit $$passed

fast: .venv/installed-dev
	$(PYTEST) -m "not slow"

clean:
	rm -rf .venv build *.egg-info

.venv/installed: EXTRAS = movielens,plots
.venv/installed-dev: EXTRAS = movielens,text,words,parquet,plots,dashboard,postgresql,ray,dev

# Who has the packages of the tests has those of the demo too. Compiling every module takes longer than all else here,
# so that only those that are imported are compiled, when they first are.
.venv/installed .venv/installed-dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[$(EXTRAS)]'
	touch .venv/installed $@
