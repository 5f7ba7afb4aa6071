# `make help` lists what is here. Everything sets up what it needs by itself: Go, and for the real Kafka a JDK and Maven.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
BIN      := bin
CACHE    := $(CURDIR)/.cache
GOLANGCI_VERSION := v2.15.0
GOLANGCI := $(CACHE)/bin/golangci-lint-$(GOLANGCI_VERSION)

# Postgres versions that tests need, fetched and started before them so that progress is seen.
POSTGRES ?= 14 15 16 17 18
# Packages tested, and more flags for go test: make test PKG=./decoder/... FLAGS='-run Golden -v'
PKG      ?= ./...
FLAGS    ?=
# Where a simulation begins and how many seeds it plays; one seed is replayed by make sim SEED=42.
SEEDS    ?= 4000
SEED     ?=
# Fuzzing time for each parser, and for how long the demo runs (0: until Ctrl-C).
FUZZTIME ?= 30s
FOR      ?= 0
ARGS     ?=

TESTENV := go run ./internal/testenv/cmd/testenv

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## the programs, into bin/
	@mkdir -p $(BIN)
	go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

.PHONY: test
test: fetch ## everything, against real Postgres and real Kafka; KAFKA_VERSION=3.9.2 for another, PKG= for some
	@.ci/gotest $(FLAGS) $(PKG)

.PHONY: race
race: fetch ## the same with the race detector
	@.ci/gotest -race $(FLAGS) $(PKG)

.PHONY: test-heavy
test-heavy: fetch ## tests that take long as well: millions of rows, minutes of outage
	@CDC_RELAY_TEST_HEAVY=1 .ci/gotest -timeout 60m $(FLAGS) $(PKG)

.PHONY: chaos
chaos: fetch ## faults between real servers for FOR=10m, then tables and topics compared; CHAOS_SEED= repeats a schedule
	CDC_RELAY_CHAOS='$(if $(filter-out 0,$(FOR)),$(FOR),10m)' CDC_RELAY_CHAOS_SEED='$(CHAOS_SEED)' \
		go test -count=1 -timeout 12h -v -run '^TestChaos$$' ./internal/e2e

.PHONY: sim
sim: ## the seeded simulation; SEEDS=4000 from a random one on, or SEED=42 to replay one a hundred times
	@seed='$(SEED)'; [ -n "$$seed" ] || seed=$$(( RANDOM * 100000 + RANDOM ))
	echo "from seed $$seed on"
	CDC_RELAY_SIM_SEEDS='$(if $(SEED),1,$(SEEDS))' CDC_RELAY_SIM_SEED="$$seed" \
		go test -count=1 -timeout 30m -run '^TestSim$$' -v ./internal/sim | { grep -v '^ *\(=== \|--- PASS\)' || true; }

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME=30s each
	@grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$$dir"/*_test.go | cut -c6- | sort -u); do
			echo "fuzz $$dir $$target for $(FUZZTIME)"
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir"
		done
	done

.PHONY: lint
lint: tools ## go vet and golangci-lint
	go vet ./...
	$(GOLANGCI) run ./...

.PHONY: fmt
fmt: tools ## format as lint wants it
	$(GOLANGCI) fmt ./...

.PHONY: tools
tools: $(GOLANGCI) ## golangci-lint into .cache/ (once, some 2 minutes)

$(GOLANGCI):
	@echo "golangci-lint $(GOLANGCI_VERSION): building, once" >&2
	@mkdir -p $(@D)
	@GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(@D)/golangci-lint $@

.PHONY: demo
demo: ## Postgres, broker, relay, application and consumer, live; Ctrl-C drains; FOR=15s, ARGS='--chaos'
	go run ./cmd/cdc-relay-demo --for $(FOR) $(ARGS)

.PHONY: saga
saga: ## three services over outbox, relay and inbox, judged; ARGS='--for 20s --fail payment=20% --kill -o json'
	@go run ./examples/saga $(ARGS)

.PHONY: bench
bench: fetch ## all measurements of the README, as a table; ARGS='-o json'
	go run ./bench $(ARGS) all

.PHONY: bench-drain
bench-drain: fetch ## drain a backlog, against pg_recvlogical
	go run ./bench $(ARGS) drain

.PHONY: bench-live
bench-live: fetch ## commit returned -> consumer, under load
	go run ./bench $(ARGS) live

.PHONY: bench-ends
bench-ends: fetch ## what both ends cost: writing events (with a table, without, optimistically), claims, the runner
	go run ./bench $(ARGS) write tableless optimistic inbox runner

.PHONY: ci
ci: ## what CI runs
	.ci/run

.PHONY: fetch
fetch: ## download Postgres and Kafka (once for each machine)
	@$(TESTENV) fetch $(POSTGRES) kafka >/dev/null || echo "tests of what could not be had will be skipped by name" >&2

.PHONY: up
up: ## start the shared test servers now, and print where they are
	@$(TESTENV) up $(POSTGRES) kafka

.PHONY: down
down: ## end all test servers; downloads stay
	@$(TESTENV) down
