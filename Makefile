# Everything that is done with the project. Needs only make and Python 3.11 or newer; what else is
# missing is installed first, with its reason (tests/setup), as root or with sudo.

PYTHON ?= python3
KERNEL ?= 7.2
TOPOLOGY ?= standard
PYTEST ?=
RUNS ?= 1000000
OPERATIONS ?= 1000000
CLIENTS ?= 200

export PYTHON
BIN := .venv/bin

.PHONY: help demo test test-fast kill-matrix prediction differential lint mutations fuzz soak flood lab lab-tools lab-setup test-setup demo-setup install clean

help:
	@echo 'make demo       isod at work on a simulated host, in under a minute'
	@echo 'make test       lint, types, and all tests, on three kernels in the lab'
	@echo 'make test-fast  the same without the lab and what is slow, on all processors'
	@echo 'make lab        a shell in a guest with isod running [KERNEL=$(KERNEL) TOPOLOGY=$(TOPOLOGY)]'
	@echo 'make kill-matrix kill the daemon at each of its system calls; on a real kernel at 100'
	@echo 'make prediction of make test only this: hot-reset answers against real kernels'
	@echo 'make differential random sequences on a real and the simulated kernel, alone'
	@echo 'make fuzz       everything that reads what others wrote [RUNS=$(RUNS) for each target]'
	@echo 'make soak       clients that borrow, die, stall and flood [OPERATIONS=$(OPERATIONS) CLIENTS=$(CLIENTS)]'
	@echo 'make flood      what floods cost a well-behaved client, as ratios, and the daemon, within its limits'
	@echo 'make mutations  break each promise on purpose and see a test turn red'
	@echo 'make install    isod, isoctl, units and the empty policy below $$DESTDIR/usr, as root'
	@echo 'make clean      remove what was made in the checkout (the lab keeps its cache elsewhere)'
	@echo 'PYTEST="-k name" passes arguments to pytest.'

demo: demo-setup
	@$(BIN)/python -m isod.cli.demo

test: test-setup lab-setup lint
	$(BIN)/python -m pytest $(PYTEST)

# Leaves its guests' devices in odd states, so it has guests of its own.
prediction: test-setup lab-setup
	$(BIN)/python -m pytest tests/prediction $(PYTEST)

differential: test-setup lab-setup
	$(BIN)/python -m pytest -m differential tests/differential $(PYTEST)

kill-matrix: test-setup lab-setup
	$(BIN)/python -m tests.kill_matrix
	ISOD_KILLS=100 $(BIN)/python -m pytest -m lab tests/kill_matrix -rP $(PYTEST)

test-fast: test-setup lint
	$(BIN)/python -m pytest -q -m 'not lab and not slow' -n auto --dist worksteal $(PYTEST)

lint: test-setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

mutations: test-setup
	@$(BIN)/python -m tests.mutations

fuzz: test-setup
	@$(BIN)/python -m tests.fuzz $(RUNS)

soak: test-setup
	@$(BIN)/python -m tests.soak $(OPERATIONS) $(CLIENTS)

# Wants two processors for itself; no test, since it is about time.
flood: test-setup
	@$(BIN)/python -m tests.bench.flood

lab: lab-tools
	@$(BIN)/python -m tests.lab.shell $(KERNEL) $(TOPOLOGY)

# Below /usr, where the units look for it. Enables nothing.
install:
	$(PYTHON) -m venv $(DESTDIR)/usr/lib/isod/python
	$(DESTDIR)/usr/lib/isod/python/bin/python -m pip install --disable-pip-version-check -q '.[cli]'
	install -d $(DESTDIR)/usr/bin $(DESTDIR)/usr/share/doc/isod
	ln -sf ../lib/isod/python/bin/isod ../lib/isod/python/bin/isoctl $(DESTDIR)/usr/bin
	install -D -m 644 -t $(DESTDIR)/usr/lib/systemd/system systemd/*.service systemd/*.socket
	install -D -m 644 systemd/isod.tmpfiles $(DESTDIR)/usr/lib/tmpfiles.d/isod.conf
	install -D -m 644 systemd/isod.sysusers $(DESTDIR)/usr/lib/sysusers.d/isod.conf
	install -D -m 644 -t $(DESTDIR)/usr/lib/systemd/catalog systemd/isod.catalog
	install -D -m 644 systemd/isod.modules-load $(DESTDIR)/usr/lib/modules-load.d/isod.conf
	install -D -m 644 -t $(DESTDIR)/usr/lib/udev/rules.d systemd/90-isod-survey.rules
	install -D -m 644 -t $(DESTDIR)/usr/lib/isod/policy.d policy/*.toml
	cp -r policy/examples systemd/drop-ins $(DESTDIR)/usr/share/doc/isod

demo-setup:
	@tests/setup/venv.sh demo

test-setup:
	@tests/setup/venv.sh test

lab-tools: test-setup
	@tests/setup/packages.sh lab
	@tests/setup/qemu.sh

lab-setup: lab-tools
	@$(BIN)/python -m tests.lab.kernels

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
