# Every target sets up what it needs. PYTHON chooses the interpreter that makes .venv.
SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup demo picture test nightly browser tools deploy remove snapshots torture wheel package bench bench-compare cold-start memory-size cost aged contention soak readers lint format lock
help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## Make .venv with the locked packages
$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Silt needs Python 3.11 or later; $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo "No virtual environment could be made: on Debian, install python3-venv."; exit 1; }
	@echo "Installing $$(grep -c '==' requirements/dev.txt) locked packages into .venv, which take a minute or two:"
	@set -o pipefail; $(BIN)/python -m pip install --disable-pip-version-check --no-color --progress-bar off \
		--require-hashes -r requirements/dev.txt | \
		awk '/^Collecting/ { split($$2, name, "=="); print "  " name[1] " " name[2]; fflush() }'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY) ## A Kafka topic becomes a Delta table, on embedded parts, with a kill in the middle
	@$(BIN)/python -m silt.local.demo

picture: $(READY) browser ## Draw what the demo prints into docs/demo.svg, and its report into docs/report.png
	@$(BIN)/python -m silt.local.demo docs/demo.svg
	@$(BIN)/silt report sales/orders --table-root .silt/demo/tables -o .silt/demo/report.html
	@chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1180,1060 \
		--user-data-dir=.silt/demo/browser --screenshot=docs/report.png .silt/demo/report.html 2>/dev/null

test: $(READY) lint tools ## Lint, check types, run every test
	@$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

nightly: $(READY) tools ## Run the tests that take long too; some of them hours
	@$(BIN)/python -m pytest -n auto --dist worksteal -m "nightly or hours" --timeout 14400 $(ARGS)

browser: ## Install Chromium if it is missing, for the tests of silt report (Debian, as root)
	@command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; }

tools: $(READY) node_modules/.ready .venv-scan/.ready .venv-readers/.ready ## Make node_modules (osls), .venv-scan (cfn-lint, checkov), .venv-readers

# Node.js of this machine, if there is one, else that of .venv.
node_modules/.ready: package-lock.json $(READY)
	@PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --silent
	@touch node_modules/.ready

.venv-scan/.ready: requirements/scan.txt
	@$(PYTHON) -m venv .venv-scan
	@.venv-scan/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/scan.txt
	@touch .venv-scan/.ready

# Readers of Delta tables, as tests use them: their versions conflict with ours.
.venv-readers/.ready: requirements/readers.txt
	@$(PYTHON) -m venv .venv-readers
	@.venv-readers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/readers.txt
	@touch .venv-readers/.ready

deploy: tools ## Deploy what deploy.yml says; ARGS='--param=deployment=deploy.prod.yml'
	@PATH="$$PATH:$(CURDIR)/$(BIN)" npx osls deploy $(ARGS)

remove: tools ## Remove what was deployed, but for tables and failed batches; ARGS as for deploy
	@PATH="$$PATH:$(CURDIR)/$(BIN)" npx osls remove $(ARGS)

snapshots: $(READY) ## Write the templates that tests compare with
	@for file in docs/deployments/*.yml; do \
		$(BIN)/silt template $$file > tests/snapshots/$$(basename $$file) || exit 1; done

torture: $(READY) ## Break everything at once, for MINUTES=5; SEED= and ROUNDS= repeat what broke
	@$(BIN)/python -m tests.torture --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED)) \
		$(if $(ROUNDS),--rounds $(ROUNDS))

readers: $(READY) .venv-readers/.ready ## Every reader on every kind of table; writes the table of docs/query.md
	@$(BIN)/python -m tests.readers

lint: $(READY) ## Lint and check types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@COLUMNS=100 $(BIN)/python -m silt.docs --check

format: $(READY) ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@COLUMNS=100 $(BIN)/python -m silt.docs

wheel: $(READY) ## Build the package of the command, silt-delta, into dist/
	@$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python -o dist .

package: $(READY) ## Make the artifacts that run in Lambda; ARGS="--arch x86_64 --python 3.12"
	@$(BIN)/silt package $(ARGS)

bench: $(READY) .venv-plot/.ready ## The function beside the limit, the obvious way and the commit REF; docs/performance.md
	@$(BIN)/python -m bench $(if $(REF),--ref $(REF))
	@$(BIN)/python -m bench.page
	@.venv-plot/bin/python bench/plot_growth.py bench/results.json docs/growth.png
	@$(BIN)/python -m bench.flame .venv-plot/bin/py-spy docs/flame.svg

bench-compare: $(READY) ## The instructions that an invocation takes, beside those at the commit REF
	@test -n "$(REF)" || { echo "Name a commit: make bench-compare REF=HEAD~1"; exit 2; }
	@$(BIN)/python -m bench.instructions $(REF)

cold-start: $(READY) ## What a cold start of the artifact takes, in ROUNDS=15, beside that of the commit REF
	@$(BIN)/python -m bench.cold_start --rounds $(or $(ROUNDS),15) $(if $(REF),--ref $(REF))

memory-size: $(READY) ## Time and cost of a batch by the memory of the function; needs root
	@$(BIN)/python -m bench.memory_size

cost: $(READY) ## What a deployment costs a month, by the formula of docs/deploy.md
	@$(BIN)/python -m bench.cost

aged: $(READY) ## A table of COMMITS=10000 small commits, before maintenance and after
	@$(BIN)/python -m bench.aged --commits $(or $(COMMITS),10000)

contention: $(READY) ## Simulate how many sandboxes one table takes, for SECONDS=120 each
	@$(BIN)/python -m bench.contention --seconds $(or $(SECONDS),120)

soak: $(READY) .venv-plot/.ready ## Steady load beside maintenance, for MINUTES=30: memory, latency, nothing lost
	@$(BIN)/python -m bench.soak --minutes $(or $(MINUTES),30)
	@.venv-plot/bin/python bench/plot.py .silt/soak/report.json .silt/soak/soak.png

.venv-plot/.ready: requirements/plot.txt
	@$(PYTHON) -m venv .venv-plot
	@.venv-plot/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/plot.txt
	@touch .venv-plot/.ready

lock: $(READY) ## Choose new versions of all packages
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --no-strip-extras \
		--python-version 3.11 --upgrade --extra cli --extra dev pyproject.toml -o requirements/dev.txt
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --no-strip-extras \
		--python-version 3.11 -c requirements/dev.txt pyproject.toml -o requirements/ship.txt
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --no-strip-extras \
		--python-version 3.11 -c requirements/dev.txt --extra maintenance pyproject.toml \
		-o requirements/maintenance.txt
	@printf 'checkov\ncfn-lint\n' | $(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate \
		--python-version 3.11 --upgrade - -o requirements/scan.txt
	@printf 'deltalake\nduckdb\nduckdb-extension-delta\nduckdb-extensions\npolars\npyarrow\npandas\ndaft\n' | \
		$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate \
		--python-version 3.11 --upgrade - -o requirements/readers.txt
	@printf 'matplotlib\npy-spy\n' | $(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate \
		--python-version 3.11 --upgrade - -o requirements/plot.txt
