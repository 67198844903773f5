python := .venv/bin/python
rooms := benchmarks cli cpu docs export figures measuring pictures reading storage tests training

.PHONY: help setup train cluster test weights-check notebook test-gpu-wheel lint clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s  %s\n", $$1, $$2 }' Makefile

setup:  ## make .venv with all packages; PYTHON=/path/to/python3.8 chooses the Python, GPU=1 Paddle's GPU wheel
	@sh setup.sh

train: setup  ## set-up, get the weights of VGG19 and LPIPS, then train; ARGS='--data DIR ...' go to train.py
	@$(python) vgg19.py --fetch || true
	@$(python) evaluate.py --fetch || true
	@$(python) train.py $(ARGS)

cluster: setup  ## train the demo with two parameter servers and two trainers on this machine; ARGS go to train.py
	@$(python) vgg19.py --fetch || true
	@rm -rf logs && mkdir logs && touch logs/serverlog.0 logs/serverlog.1 logs/workerlog.0 logs/workerlog.1
	@# Only the trainers react to Ctrl-C: they finish their update and save, and when they end, the others end too.
	@trap '' INT; $(python) -m paddle.distributed.launch_ps --server_num 2 --worker_num 2 --log_dir logs \
	    train.py --threads 1 --readers 1 $(ARGS) 2>/dev/null & tail -q -n +1 -f --pid=$$! logs/*log.*; wait $$!

test: setup  ## set-up, then all tests, two at a time; ARGS='-k NAME ...' go to pytest
	@$(python) -m pytest -n 2 --dist loadgroup $(ARGS)

weights-check: setup  ## set-up, then measure the networks of pretrained/ again; SET5=DIR names Set5
	-@$(python) evaluate.py --fetch
	@$(python) -m pytest tests/test_pretrained.py -k figures -q -rs --capture=no

notebook: setup  ## set-up, then run main.ipynb from top to bottom and keep its outputs
	@$(python) tests/execute_notebook.py

test-gpu-wheel: setup  ## test the code for several GPUs, without a GPU, with Paddle's GPU wheel in .venv-gpu
	@test -d .venv-gpu || $(python) -m venv .venv-gpu
	@.venv-gpu/bin/python -m pip install -q -r requirements-gpu.txt pytest==7.4.4
	@.venv-gpu/bin/python -m pytest tests/test_collective.py $(ARGS)

lint: setup  ## set-up, then the style checks
	@$(python) -m ruff check .

clean:  ## remove .venv and caches, but no models, pictures or data
	rm -rf .venv .pytest_cache .ruff_cache __pycache__ $(foreach room,$(rooms),$(room)/__pycache__)
