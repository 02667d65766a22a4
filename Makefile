PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO := 0

.DEFAULT_GOAL := help
.PHONY: help demo test million chaos objects many-shards simulated fuzz bench-embed bench-pixels bench-sources bench-cascade bench-recall bench-promise bench-search bench-dedup bench-changes look-weights million-dedup growth scale measured bench-merge guide clean

help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 20

.venv/ready: pyproject.toml requirements.txt
	$(PYTHON) -c 'import sys; sys.exit("Sluice needs Python 3.11 or newer; set PYTHON=python3.x") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

demo: .venv/ready  ## show every command on a small corpus, into work/demo
	sluice demo

test: .venv/ready  ## ruff, mypy --strict, the contracts of the rooms, pytest
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	pytest -m "not chaos and not ray" -n logical --maxprocesses 4 --dist loadfile
	pytest -m "ray and not chaos"

PHOTOS ?= work/demo/corpus

bench-embed: .venv/ready  ## time embedding against the limit and others, over PHOTOS=folder
	$(BIN)/pip install --quiet imagededup==0.3.3.post2 || true
	sluice bench embed $(PHOTOS) --shard-rows 250

chaos: .venv/ready  ## kill drivers, workers, nodes and hosts at random, CHAOS_ROUNDS times
	pytest -m chaos $(addprefix tests/chaos/test_,killed_driver.py killed_node.py network_namespaces.py killing_images.py)

objects: .venv/ready  ## outputs on an object store: what they cost, and what is left where it fails
	pytest -m chaos -s tests/chaos/test_object_store.py tests/chaos/test_object_libraries.py

many-shards: .venv/ready  ## what a store of CHAOS_SHARDS=200000 shards costs the driver, made in folders and on S3
	pytest -m chaos -s tests/chaos/test_many_shards.py

simulated: .venv/ready  ## stragglers, lost workers, growing and shrinking clusters: run and simulated
	pytest -m chaos -s tests/chaos/test_simulated_pools.py

fuzz: .venv/ready  ## sign FUZZ_FILES=10000 damaged files of every format (FUZZ_SEED, FUZZ_WORKERS)
	pytest -m chaos -s tests/chaos/test_fuzz.py

bench-pixels: .venv/ready  ## time making, decoding and signing images, over PHOTOS=folder
	sluice bench pixels $(PHOTOS)

bench-sources: .venv/ready  ## what planning costs the driver: 100,000 files, 10 GB of Parquet and of tars
	sluice bench sources

CASCADE := --set source.url=work/cascade/corpus --set sign.output=work/cascade/signatures \
	--set cascade.features=work/cascade/features --set cascade.output=work/cascade/out

work/cascade/corpus/manifest.json: .venv/ready
	sluice corpus --images 20000 --output $(@D)

bench-cascade: work/cascade/corpus/manifest.json  ## the cascade beside brute force over 20,000 images
	sluice bench cascade $(CASCADE)

bench-recall: work/cascade/corpus/manifest.json  ## recall of every filter over 20,000 images
	sluice sign $(CASCADE)
	sluice calibrate $(CASCADE) --calibration-images 10000
	sluice bench recall $(CASCADE)

bench-promise: .venv/ready  ## is a promised recall kept, and for whom? PHOTOS=folder
	sluice bench promise $(PHOTOS)

bench-search: .venv/ready  ## time both grids beside plain FAISS, on 1,000,000 synthetic vectors
	sluice bench search

bench-dedup: .venv/ready  ## find near-duplicates our way and by imagededup, over PHOTOS=folder
	$(BIN)/pip install --quiet imagededup==0.3.3.post2 || true
	sluice bench dedup $(PHOTOS)

bench-changes: .venv/ready  ## find copies changed in 36 ways among PHOTOS=folder, also by imagededup
	$(BIN)/pip install --quiet imagededup==0.3.3.post2 || true
	sluice bench changes $(PHOTOS)

look-weights: .venv/ready  ## fit the weights of the second look to the photographs in PHOTOS=folder
	sluice embed $(PHOTOS) --output work/look
	$(BIN)/python -m pipeline.lab.look_weights work/look > work/look/weights.yaml
	cp work/look/weights.yaml pipeline/dedup/weights.yaml

million-dedup: .venv/ready  ## join 1,000,000 synthetic vectors; run again to go on
	sluice lab million-dedup

growth: .venv/ready  ## measure how pairs, scans, joins and look-ups grow, on synthetic vectors
	sluice lab growth

guide: .venv/ready  ## check the guide's claims on this machine; run again to go on
	sluice lab guide

scale: .venv/ready  ## time 1..64 emulated workers, fit the laws of scaling
	sluice lab scale

measured: .venv/ready  ## measure for those who have no runs: the file that sluice lab plan goes by then
	sluice lab scale --output work/measured
	cp work/measured/measured.yaml pipeline/core/measured.yaml

bench-merge: .venv/ready  ## time the merge against 1..10,000 shards, beside FAISS's
	sluice bench merge

million: .venv/ready  ## corpus, embed, search 1,000,000 images; run again to go on
	sluice lab million

clean:  ## remove what the demo made (the virtual environment stays)
	rm -rf work
