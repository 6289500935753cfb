PYTHON ?= python3
BIN := .venv/bin

# focus-validator needs Python 3.12; without one its test is skipped.
PYTHON312 := $(shell for python in python3.12 $${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.12.*/bin/python3.12; do \
    "$$python" -c pass 2>/dev/null && echo "$$python" && break; done)

.PHONY: demo test long lint format lock others audit mutation bench

demo: .venv/installed
	$(BIN)/usage-pipeline demo

# Three at once even on two cores: many tests wait for other processes.
test: .venv/installed
	$(BIN)/pytest -n 3

# The same tests with many more examples, crashes and bytes, and Spark where Java is: some hours.
long: .venv/installed $(if $(shell command -v java),.venv-spark/installed)
	USAGE_PIPELINE_LONG=1 $(BIN)/pytest -n 2 usage_pipeline_tests/reliability usage_pipeline_tests/security usage_pipeline_tests/scale

# Breaks the code in one place at a time: do the tests notice? Options in ARGUMENTS, such as --sample 40.
mutation: .venv/installed
	$(BIN)/python -m usage_pipeline_tests.reliability.mutation $(ARGUMENTS)

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Needs uv on the path; the lock holds versions and hashes, no addresses.
lock:
	uv pip compile pyproject.toml --group dev --extra cluster --extra kubernetes --universal --python-version 3.11 --generate-hashes --no-strip-extras \
	    --no-emit-index-url --custom-compile-command "make lock" -q -o requirements.lock
	echo 'duckdb==1.0.0' | uv pip compile - --no-config --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o requirements-duckdb1.lock
	echo 'duckdb>=2,<2.1' | uv pip compile - --no-config --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o requirements-duckdb2.lock
	echo 'pip-audit>=2.10,<3' | uv pip compile - --no-config --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o requirements-audit.lock
	uv pip compile requirements-spark.in --no-config --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o requirements-spark.lock
	uv pip compile requirements-peers.in --no-config --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o requirements-peers.lock
	uv pip compile requirements-focus.in --no-config --universal --python-version 3.12 --generate-hashes \
	    --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o requirements-focus.lock

# What has to stand apart from our own environment: the oldest and the next DuckDB, and the FOCUS validator.
others: .venv-duckdb1/installed .venv-duckdb2/installed $(if $(PYTHON312),.venv-focus/installed)

.venv-duckdb%/installed: requirements-duckdb%.lock
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# Measures everything that docs/benchmarks.md tells, and writes its table and plot: some hours. One of them, smaller:
# .venv/bin/python -m benchmarks normalise --rows 100000 --repeat 1
bench: .venv/installed .venv-peers/installed
	$(BIN)/python -m benchmarks

.venv-peers/installed: requirements-peers.lock
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# Known weaknesses of what requirements.lock holds; where their database cannot be asked, that is what it says.
audit: .venv-audit/installed
	.venv-audit/bin/python .ci/audit

.venv-audit/installed: requirements-audit.lock
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

.venv-spark/installed: requirements-spark.lock
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

.venv-focus/installed: requirements-focus.lock
	$(PYTHON312) -m venv .venv-focus
	.venv-focus/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@
