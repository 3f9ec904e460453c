# Two commands for a fresh clone: `make quickstart` and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.installed
WHOLE := -m 'not render and not slow and not backbones and not docs'
SPACE := hf_relvit/spaces/interventions
SPACE_TESTS := 'pytest>=9' pytest-timeout pytest-xdist hypothesis jaxtyping beartype playwright peft

.PHONY: quickstart test test-long wheel test-newest test-lowest test-wheel test-backbones test-docs test-bad-inputs test-render test-browser test-space test-cluster quality docs notebooks style bench bench-gpu tour replicate-clip-quick replicate-clip replicate-paper-gpu table1-gpu hub clean

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (about 90 s the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

quickstart: $(READY)  ## build, train, evaluate, analyze, report: 5 to 7 minutes on 2 cores
	@$(BIN)/relvit study run quick --out runs/quick

test: $(READY)  ## for every change: a quarter of an hour on two cores
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-long: $(READY)  ## tests that take longer: kills, restarts, whole grids, every argument of Trainer; as long again
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m long

test-newest:  ## the newest versions that pyproject.toml allows, in an environment of their own
	@$(PYTHON) -m venv build/newest
	@build/newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade -e '.[dev]'
	@OMP_NUM_THREADS=1 build/newest/bin/python -m pytest -n 2 --dist loadfile $(WHOLE)

test-lowest:  ## the lower bounds of pyproject.toml, in an environment of their own
	@$(PYTHON) -m venv build/lowest
	@build/lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	@build/lowest/bin/uv pip install --quiet --python build/lowest/bin/python --resolution lowest-direct -e '.[dev]'
	@OMP_NUM_THREADS=1 build/lowest/bin/python -m pytest -n 2 --dist loadfile $(WHOLE) -W ignore::DeprecationWarning  # of old packages

test-wheel:  ## builds dist/, installs the wheel without the repository, runs `relvit study run quick` there
	@.ci/wheel $(PYTHON)

wheel: $(READY)  ## the package of this clone as dist/*.whl
	@rm -f dist/hf_relvit-*.whl
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

test-docs: $(READY)  ## every command of README, tutorial and pages as it stands, after `make quickstart`; half an hour
	@$(BIN)/python -m pytest -m docs tests/test_docs_commands.py

test-backbones: $(READY)  ## tiny models of the families of the grids, trained by adapters and opened
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m backbones tests/training/test_backbones.py

test-bad-inputs: $(READY)  ## hundreds of bad inputs: each ends in one line, none in a traceback
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not render' tests/bad_inputs

test-render: $(READY)  ## the path tracer; needs the extra, `pip install -e '.[render]'`
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m render tests/stimuli/photorealistic tests/dataset_builders tests/test_determinism.py

test-browser: $(READY)  ## the Space in a real browser; needs Chromium, such as Debian's package chromium
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]' playwright
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser tests/interventions

test-space:  ## the Space in an environment of its own versions, without a GPU: `make test-space PYTHON=python3.12`; Chromium
	@$(PYTHON) -m venv build/space
	@build/space/bin/python -m pip install --quiet --disable-pip-version-check -r $(SPACE)/requirements.txt \
		gradio==$$(sed -n 's/^sdk_version: //p' $(SPACE)/README.md) $(SPACE_TESTS)
	@build/space/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@OMP_NUM_THREADS=1 build/space/bin/python -m pytest tests/browser tests/interventions

test-cluster: $(READY)  ## a study on a Ray cluster of this machine, with a worker killed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cluster]'
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/study/test_cluster.py

quality: $(READY)  ## lint, format, types and prose
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --warnings
	@$(BIN)/codespell $$(git ls-files '*.md' '*.py' '*.html' '*.yaml' '*.toml' Makefile)
	@$(BIN)/python docs/_site/prose.py

docs: $(READY)  ## the documentation site, docs/_build/html; a warning, a dead link or a missing object fails
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@rm -rf docs/_build/html
	@OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --quiet --fresh-env --write-all --fail-on-warning --keep-going docs docs/_build/html
	@echo "docs/_build/html/index.html"

notebooks: $(READY)  ## run the notebooks of docs/notebooks and keep their outputs; a cell that fails ends it
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@OMP_NUM_THREADS=1 $(BIN)/python -W ignore docs/_site/notebooks.py

style: $(READY)  ## mend what can be mended
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY)  ## every speed claim, as a ratio with both sides in one run
	@for f in benchmarks/bench_*.py; do echo "== $$f"; $(BIN)/python $$f || exit 1; done

build/clip-vit-b16/model.safetensors: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt onnx
	@$(BIN)/python examples/clip_vit_b16.py build/clip-vit-b16

tour: build/clip-vit-b16/model.safetensors  ## the paper's story on the released CLIP; 5 minutes on 2 cores
	@$(BIN)/relvit tour --base build/clip-vit-b16 --out runs/tour

replicate-clip-quick: build/clip-vit-b16/model.safetensors  ## real CLIP: fine-tune and measure one run; half an hour on 2 cores
	@$(BIN)/relvit study run examples/clip_quick.yaml --out runs/clip-quick

replicate-clip: build/clip-vit-b16/model.safetensors  ## every CLIP figure of docs/replication.md; a day on 2 cores, resumable
	@$(BIN)/relvit study run examples/replicate_clip.yaml --out runs/replicate-clip
	@for task in discrimination rmts; do \
		$(BIN)/relvit study run examples/clip_$$task.yaml --out runs/clip-$$task && \
		$(BIN)/python examples/keep_results.py runs/clip-$$task docs/results/clip_$$task && \
		$(BIN)/python examples/compare_published.py docs/results/clip_$$task $$task || exit 1; \
	done

bench-gpu: $(READY)  ## training and analyses on one GPU against their targets; without a GPU at a reduced size
	@$(BIN)/python benchmarks/bench_gpu_training.py
	@$(BIN)/python benchmarks/bench_gpu_analysis.py

replicate-paper-gpu: build/clip-vit-b16/model.safetensors  ## CLIP at the paper's size, half an hour on an H200, resumable
	@$(BIN)/relvit study run examples/replicate_paper_gpu.yaml --out runs/replicate-paper-gpu
	@$(BIN)/python examples/keep_results.py runs/replicate-paper-gpu docs/results/replicate_paper_gpu

table1-gpu: $(READY)  ## Table 1 at the paper's size, from scratch; about three hours on an H200, resumable
	@for task in discrimination rmts; do \
		$(BIN)/relvit study run examples/table1_gpu_$$task.yaml --out runs/table1-gpu-$$task && \
		$(BIN)/python examples/keep_results.py runs/table1-gpu-$$task docs/results/table1_gpu_$$task || exit 1; \
	done

PORT ?= 8585
hub: $(READY)  ## a Hub on this machine, to try publishing in a second terminal
	@PYTHONPATH=tests $(BIN)/python -m hub_server --port $(PORT) --storage runs/hub

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
