# Two commands matter: `make run` and `make test`. `make help` lists the rest.

VENV    ?= .venv
PYTHON  ?= $(shell command -v python3.11 || command -v python3)
HOST    ?= 127.0.0.1
PORT    ?= 8000
SAMPLES ?= samples
STATE   ?= state
DEVICE  ?= cpu
MINUTES ?= 10
NAME    := $(subst :,-,$(DEVICE))
LOAD    := benchmarks/results
# On a CPU, the network gets all cores but one, as a GPU would be its own; and, beside that, all of them.
APART   := $(if $(filter cpu,$(DEVICE)),--threads $(shell echo $$(($$(nproc) > 1 ? $$(nproc) - 1 : 1))))

SOLAR   := data/solar
RECIPE  := --recipe fast

BIN     := $(VENV)/bin
PYTEST  := $(BIN)/python -m pytest
# Two processes, whatever the machine: a test that fails with two fails everywhere.
SIDE_BY_SIDE := -n 2 --dist loadgroup --no-loadscope-reorder
# The files that hold serial tests, so that no other is read for them.
SERIAL  := $(shell grep -rl --include='test_*.py' 'mark.serial' tests)
# The tests start a hundred processes: let each find the modules compiled.
unexport PYTHONDONTWRITEBYTECODE
# The exact versions that CI and the images install; `make LOCK= test` takes the newest that fit.
LOCK    ?= requirements.lock
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(LOCK),--constraint $(LOCK))
SERVE   := $(VENV)/.installed-serve
DEV     := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help run test test-quick test-long test-gpu docs-check image-check image-check-cluster check format-check lint types imports fix bench bench-cpu soak soak-delivery soak-station bench-station bench-console screenshots load audit lock sbom demo-weights clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(SERVE) ## serve the shipped checkpoint on HOST:PORT, by default http://127.0.0.1:8000
	@echo "Starting the service: open http://$(HOST):$(PORT) in a browser once it is ready (Ctrl-C stops it)"
	@exec $(BIN)/mambaad serve --host $(HOST) --port $(PORT) --state $(abspath $(STATE)) --samples $(abspath $(SAMPLES))

test: $(DEV) ## run every test but the long ones (20 minutes on two cores)
	$(PYTEST) $(SIDE_BY_SIDE) -m "not serial and not long"
	$(PYTEST) -m "serial and not long" $(SERIAL)

test-quick: $(DEV) ## run the tests that take no time, for work in progress (90 s)
	$(PYTEST) $(SIDE_BY_SIDE) -m "not slow and not serial and not long"

test-long: $(DEV) ## run the soaks and the longest fault runs, which `test` leaves out
	$(PYTEST) -m long
	$(BIN)/python -m benchmarks.soak --minutes 3

check: format-check lint types imports test ## everything CI demands: format, lint, types, layers, tests

format-check: $(DEV)
	$(BIN)/ruff format --check .

lint: $(DEV)
	$(BIN)/ruff check .

types: $(DEV)
	$(BIN)/mypy

imports: $(DEV)
	$(BIN)/lint-imports

fix: $(DEV) ## format, and repair what the linter can repair
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(SERVE) ## time the paper's configuration and the shipped checkpoint on DEVICE
	$(BIN)/mambaad benchmark --device $(DEVICE) --batch-size 1 --config paper
	$(BIN)/mambaad benchmark --device $(DEVICE) --batch-size 1 --checkpoint solar

bench-cpu: $(SERVE) ## every CPU figure of docs/understand.md, its table included (4 minutes, quiet machine)
	$(BIN)/python -m benchmarks.cpu

load: $(DEV) ## hold the service on DEVICE against each claim about its speed (45 minutes)
	-$(BIN)/python -m benchmarks.load throughput --device $(DEVICE) $(APART) --json $(LOAD)/load-throughput-$(NAME).json
	$(if $(APART),-$(BIN)/python -m benchmarks.load throughput --json $(LOAD)/load-throughput-cpu-shared.json)
	-$(BIN)/python -m benchmarks.load latency --device $(DEVICE) $(APART) --json $(LOAD)/load-latency-$(NAME).json
	$(if $(APART),-$(BIN)/python -m benchmarks.load latency --json $(LOAD)/load-latency-cpu-shared.json)
	-$(BIN)/python -m benchmarks.load latency --arrivals constant --device $(DEVICE) $(APART) --json $(LOAD)/load-latency-$(NAME)-constant.json
	$(if $(APART),-$(BIN)/python -m benchmarks.load latency --arrivals constant --json $(LOAD)/load-latency-cpu-shared-constant.json)
	-$(BIN)/python -m benchmarks.load categories --device $(DEVICE) --json $(LOAD)/load-categories-$(NAME).json

audit: $(DEV) ## ask the package index which installed packages have known holes; needs a network
	@$(BIN)/python .ci/audit.py $(BIN)/pip-audit

lock: $(BIN)/python ## choose the versions that CI and the images install anew: requirements.lock
	$(BIN)/python .ci/lock.py

sbom: $(DEV) ## write what is installed as a CycloneDX bill of materials, sbom.cdx.json
	$(BIN)/cyclonedx-py environment --output-reproducible --output-file sbom.cdx.json $(BIN)/python

test-gpu: $(DEV) ## on a CUDA machine: the tests that need it, and the benchmark (8 minutes)
	$(PYTEST) -m gpu
	$(BIN)/python -m benchmarks.gpu --json $(LOAD)/gpu-$(NAME).json

soak: $(DEV) ## good and hostile traffic for MINUTES (10): memory, files, silences watched
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --device $(DEVICE)

soak-delivery: $(DEV) ## every receiver fails for MINUTES (10), the service is killed: everything arrives
	$(BIN)/python -m benchmarks.delivery --minutes $(MINUTES)

bench-station: $(DEV) ## a station: 10,000 triggers among kills and cuts, then its latency (25 minutes)
	$(BIN)/python -m benchmarks.station triggers --json $(LOAD)/station-triggers.json
	$(BIN)/python -m benchmarks.station latency --json $(LOAD)/station-latency-modbus.json
	$(BIN)/python -m benchmarks.station latency --door opcua --json $(LOAD)/station-latency-opcua.json

bench-console: $(DEV) ## the console with a million parts, Live's delay, and its cost to /detect (20 minutes)
	-$(BIN)/python -m benchmarks.console pages --json $(LOAD)/console-pages.json
	-$(BIN)/python -m benchmarks.console live --json $(LOAD)/console-live.json
	$(BIN)/python -m benchmarks.console detect --json $(LOAD)/console-detect.json

screenshots: $(DEV) ## take the pictures of the console in docs/images anew, with drawn parts (4 minutes)
	$(BIN)/python -m tests.service.console.screenshots

soak-station: $(DEV) ## two stations of one service at full speed for MINUTES (10): memory, files, threads
	$(BIN)/python -m benchmarks.station soak --minutes $(MINUTES) --json $(LOAD)/station-soak.json

demo-weights: $(DEV) ## make the shipped solar-cell checkpoint again, from the dataset's package
	$(BIN)/python -m demo.solar prepare $(SOLAR)
	$(BIN)/mambaad train $(SOLAR) --name solar --restart $(RECIPE) \
	  --license "CC BY-NC-SA 4.0" --notice "Demonstration only, not for commercial use: trained on the \
	ELPV dataset (Buerhop-Lutz et al. 2018; Deitsch et al. 2019, 2021; CC BY-NC-SA 4.0)."
	$(BIN)/mambaad evaluate solar $(SOLAR)

docs-check: $(DEV) ## run every command of README and docs as it is pasted (5 minutes)
	$(PYTEST) tests/documents/test_examples.py

image-check: $(DEV) ## build the images cpu and edge, and inspect samples with each; needs root and buildah
	$(BIN)/python -m docker.image_check --torch-index "$(TORCH_INDEX)"

image-check-cluster: $(DEV) ## the same for the image cluster: a head of Ray, a node, and a service
	$(BIN)/python -m docker.image_check --cluster --torch-index "$(TORCH_INDEX)"

clean: ## remove the virtual environment and every cache
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One virtual environment. `run` installs what serving needs; the rest adds the trainer and the tools.
# A stamp stands for an install, and is out of date when pyproject.toml or the lock file is newer.

$(BIN)/python:
	@$(or $(PYTHON),$(error no Python found; name one: make PYTHON=/path/to/python3.11)) -c \
	  'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else \
	  f"needs Python 3.11 to 3.13, got {v.major}.{v.minor}; name another: make PYTHON=python3.11")'
	@echo "Creating a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -f $@; exit 1; }

$(SERVE): pyproject.toml $(LOCK) | $(BIN)/python
	@echo "Installing what serving needs into $(VENV) (a minute or two, once)"
	@$(INSTALL) --editable '.[torch]'
	@touch $@

$(DEV): pyproject.toml $(LOCK) | $(BIN)/python
	@echo "Installing the service, the trainer and the developer's tools into $(VENV) (a minute or two, once)"
	@$(INSTALL) --editable '.[dev]'
	@touch $(SERVE) $@
