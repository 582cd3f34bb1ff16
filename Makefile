# make env    the environment: .venv with the `pulssi` command
# make test   every check and every test, on real servers that the run starts itself (ARGS="tests/unit -k frames")
# make demo   the whole system with a simulated city (ARGS="--for 90s --json")
# make clean  remove the environment and everything that was downloaded or stored
.PHONY: env test checks demo clean
.DEFAULT_GOAL := env

BIN := .venv/bin
STAMP := .venv/made
# The first Python of 3.11 or newer; asked only when the environment has to be made.
PYTHON = $(shell for one in python3 python3.11 python3.12 python3.13 python3.14; do \
	"$$one" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$one" && break; done)

env: $(STAMP)

$(STAMP): requirements/dev.txt pyproject.toml deploy/environment.py
	@test -n "$(PYTHON)" || { echo "make env: Python 3.11 or newer is missing. Install it: apt-get install python3" >&2; exit 2; }
	@$(PYTHON) -m deploy.environment
	@touch $@

checks: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: checks
	$(BIN)/python -m pytest $(ARGS)

demo: $(STAMP)
	@$(BIN)/pulssi demo $(ARGS)

clean:
	rm -rf .venv .pulssi
