# Everything runs in .venv, which every target makes when it is missing or older than what it is made from.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PARITY := 'torch==2.14.1' 'torchvision==0.29.1' torch-fidelity prdc clean-fid pytorch-fid diffusers hmmlearn pytest \
  scikit-learn
SECONDS_PER_MODEL ?= 45
# Large pages for large arrays: a step that allocates much faults less.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: demo test prove soak check experiments notebooks notebook-outputs small-trilemma benchmark benchmark-metrics \
  benchmark-sampling benchmark-saving parity format clean

$(VENV)/made: requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("gen_jax needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/made  ## every family on the embedded digits, one table (at most 12 minutes on 2 cores)
	$(RUN) -m experiments.trilemma --data digits --seconds-per-model $(SECONDS_PER_MODEL) --workdir runs/demo

test: $(VENV)/made  ## the fast tests (ten minutes on 2 cores, less once their programs are compiled)
	$(RUN) -m pytest

prove: $(VENV)/made  ## the long proofs, in twelve shards; SHARD=2 is one of them
	for shard in $(or $(SHARD),1 2 3 4 5 6 7 8 9 10 11 12); do $(RUN) -m pytest -m slow --shard $$shard/12 || exit 1; done

soak: $(VENV)/made  ## what is promised of a run, on real processes (40 minutes on 2 cores); GOALS="R1 R4" SCALE=0.1
	$(RUN) -m soak $(GOALS) --scale $(or $(SCALE),1)

check: $(VENV)/made  ## style, types, doctests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy gen_jax experiments
	$(RUN) -m pytest --doctest-modules gen_jax

experiments: $(VENV)/made  ## every experiment for two steps on eight virtual devices
	$(RUN) -m pytest tests/experiments_on_eight_devices.py

notebooks: $(VENV)/made  ## every notebook's script from beginning to end
	for script in notebooks/*.py; do MPLBACKEND=agg $(RUN) $$script || exit 1; done

notebook-outputs: $(VENV)/made  ## the notebooks anew, with what their scripts print and draw
	$(RUN) -m pip install --quiet jupytext nbconvert ipykernel
	for script in notebooks/*.py; do \
	  $(RUN) -m jupytext --quiet --to notebook --output $${script%.py}.ipynb $$script || exit 1; \
	  $(RUN) -m jupyter nbconvert --log-level ERROR --to notebook --execute --inplace \
	    --ExecutePreprocessor.record_timing=False $${script%.py}.ipynb || exit 1; done

small-trilemma: $(VENV)/made  ## the whole comparison, with seconds instead of minutes
	rm -rf runs/small
	$(RUN) -m experiments.trilemma --data digits --seconds-per-model 3 --generated 100 --workdir runs/small

benchmark:  ## against PyTorch, in a virtual environment of its own
	$(PYTHON) -m venv .venv-benchmark
	.venv-benchmark/bin/python -m pip install --quiet --editable . 'torch==2.13.0'
	.venv-benchmark/bin/python -m benchmarks.train_step

benchmark-metrics: .venv-parity/made  ## whole measurements against torch-fidelity, and the distance against scipy
	.venv-parity/bin/python -m benchmarks.metrics

benchmark-saving: $(VENV)/made  ## what hashing and checking add to a run that saves
	$(RUN) -m benchmarks.saving

benchmark-sampling: .venv-parity/made  ## seconds of an image against diffusers and diffrax
	.venv-parity/bin/python -m benchmarks.sampling

format: $(VENV)/made
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# See tests/parity: everything that is claimed to equal another program, beside that program.
parity: .venv-parity/made  ## features, files and golden numbers beside torch-fidelity, pytorch-fid and others
	.venv-parity/bin/python -m pytest -o addopts= -q tests/parity

.venv-parity/made: requirements.txt setup.cfg
	$(PYTHON) -m venv .venv-parity
	.venv-parity/bin/python -m pip install --quiet --editable . $(PARITY)
	touch $@

clean:
	rm -rf $(VENV) .venv-benchmark .venv-parity runs build .pytest_cache .ruff_cache .mypy_cache *.egg-info
