python := .venv/bin/python

.PHONY: help setup train test weights-check notebook lint clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s  %s\n", $$1, $$2 }' Makefile

setup:  ## .venv with all that is needed; PYTHON=/path/to/python3.8 names the Python, GPU=1 takes Paddle's GPU wheel
	@sh setup.sh

train: setup  ## set-up and VGG19's weights, then train; ARGS='--data DIR ...' go to train.py
	@$(python) vgg19.py --fetch || true
	@$(python) train.py $(ARGS)

test: setup  ## set-up, then all tests; ARGS='-k NAME ...' go to pytest
	@$(python) -m pytest $(ARGS)

weights-check: setup  ## set-up, then measure the networks of pretrained/ again; SET5=DIR names Set5
	@$(python) -m pytest tests/test_pretrained.py -k figures -q -rs --capture=no

notebook: setup  ## set-up, then run main.ipynb from top to bottom and keep its outputs
	@$(python) tests/execute_notebook.py

lint: setup  ## set-up, then the style checks
	@$(python) -m ruff check .

clean:  ## remove .venv and caches; models, pictures and data stay
	rm -rf .venv .pytest_cache .ruff_cache __pycache__ tests/__pycache__ benchmarks/__pycache__
