# make app    install into .venv and open the page on the demo library
# make test   install into .venv, lint, type-check and test: what CI runs
# make model  make mulan-mini anew, from nothing, in the folder OUT; stopped, it goes on
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SOURCES := data mulan indexing app tests

.PHONY: app test lint packages model clean

app: .venv/installed
	$(BIN)/mulan serve

# Many tests leave a core idle, so two processes of one thread each; the tests of a file share what they set up.
test: .venv/installed-dev lint
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

lint: .venv/installed-dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

# Paths in configurations are looked for from where a training runs, so all of it runs in OUT.
OUT ?= $(HOME)/mulan-mini
TRAIN := $(CURDIR)/configs/train
MULAN := $(CURDIR)/$(BIN)/mulan
RENDERS := corpus/manifest.jsonl arrangements/manifest.jsonl
MANIFESTS := $(addprefix --manifest ,$(RENDERS) real/labelled.jsonl)
# What composes and renders, what it plays with, and the songs that are arranged: Debian's.
PACKAGES := fluidsynth mma openmpt123 sonic-pi-samples fluid-soundfont-gm timgm6mb-soundfont minuet-data \
	denemo-data csound-soundfont freedoom simutrans-data openttd-openmsx freedink-data

packages:
	@missing=$$(for name in $(PACKAGES); do \
		[ "$$(dpkg-query -W -f '$${db:Status-Status}' $$name 2>/dev/null)" = installed ] || echo $$name; done); \
	[ -z "$$missing" ] || { echo make model needs: apt install $$missing >&2; exit 1; }

# Where glibc knows it, larger pages save a part of the time that a training spends on page faults.
model: export GLIBC_TUNABLES := glibc.malloc.hugetlb=1
model: packages .venv/installed-dev
	mkdir -p "$(OUT)"
	cd "$(OUT)" && $(MULAN) data music real --reserved
	cd "$(OUT)" && $(MULAN) data render corpus --pieces 7000 --seed 7 --workers 2
	cd "$(OUT)" && $(MULAN) data render arrangements --arrangements --pieces 3000 --seed 8 --workers 2
	cd "$(OUT)" && $(MULAN) data label real/manifest.jsonl real/labelled.jsonl --logits real/MSD_musicnn.npz
	cd "$(OUT)" && $(MULAN) data label real/manifest.jsonl real/probed.jsonl --logits real/MSD_musicnn.npz \
		$(addprefix --known ,$(RENDERS))
	cd "$(OUT)" && $(MULAN) train rvq $(TRAIN)/mel-rvq.toml $(MANIFESTS) --out quantizer
	cd "$(OUT)" && $(MULAN) train muq $(TRAIN)/muq-mini.toml $(MANIFESTS) --out muq
	cd "$(OUT)" && $(MULAN) train mulan $(TRAIN)/mulan-mini.toml $(MANIFESTS) --out run
	cd "$(OUT)" && $(MULAN) train mulan $(TRAIN)/mulan-mini-2.toml $(MANIFESTS) --out run2
	cd "$(OUT)" && $(MULAN) train mulan $(TRAIN)/mulan-mini-3.toml $(MANIFESTS) --out run3
	cd "$(OUT)" && $(MULAN) train mulan $(TRAIN)/mulan-mini-4.toml \
		$(addprefix --manifest ,$(RENDERS) real/probed.jsonl) --set name=mulan-mini --out run4

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml $(BIN)/python
	@echo "installing torch and friends into .venv: about 5 GB, a few minutes"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-dev: pyproject.toml $(BIN)/python
	@echo "installing torch and friends into .venv: about 5 GB, a few minutes"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps "milvus-lite>=3.2,<4" # it asks for the CPU build of FAISS
	touch .venv/installed $@
