# `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

GO       ?= go
TOOLS    := test/tools/go.mod
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -X main.version=$(VERSION)
# Flags of the program that a target runs, such as make dev ARGS="--rtt 60ms --nodes 3".
ARGS     ?=
# Packages of `make test` and `make lint`.
PKG      ?= ./...
TIMEOUT  ?= 20m

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

# grpcnotrace leaves out gRPC's trace pages, and with them html/template, which would keep the linker from leaving out what
# nothing calls. Nothing here needs a C library.
.PHONY: build
build: ## compile bin/geogate
	CGO_ENABLED=0 $(GO) build -trimpath -tags grpcnotrace -ldflags '$(LDFLAGS)' -o bin/geogate ./cmd/geogate

.PHONY: dev
dev: build ## run three datacenters in one process; ARGS="--rtt 60ms" and so on
	@exec bin/geogate dev $(ARGS)

# Kubernetes' own tests come by themselves: some of them wait a tenth of a second for an event.
.PHONY: test
test: fmt-check tidy-check vet lint ## everything a change must pass: format, vet, lint, all tests with the race detector
	$(GO) test -race -timeout $(TIMEOUT) -skip '^TestKubernetes$$' $(PKG)
	$(GO) test -timeout $(TIMEOUT) -run '^TestKubernetes$$' ./test
	@$(MAKE) --no-print-directory allocs
	@$(MAKE) --no-print-directory fuzz-short

# Of `make fuzz`: how long each target runs, and how often an input may be tried in a shorter form. Go's own limit
# is a minute for each input, in which nothing else is tried and 0 execs/sec are shown.
FUZZTIME     ?= 1m
FUZZMINIMIZE ?= 50x

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME=1m; what it finds is kept under testdata/fuzz of the package
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do \
		for name in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' "$$dir"/*_test.go | cut -c6-); do \
			echo "$$dir $$name"; $(GO) test "$$dir" -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) \
				-fuzzminimizetime $(FUZZMINIMIZE) -timeout $(TIMEOUT); \
		done; done

.PHONY: fuzz-quick
fuzz-quick: ## the same with a second for each target
	@$(MAKE) --no-print-directory fuzz FUZZTIME=1s

# What comes from the wire or the disk meets these first. A number of inputs and not a time: go test may fail a target
# whose time is over while it works, and the number does not depend on how busy the machine is.
# FuzzSnapshotFile writes a file for each input.
FUZZINPUTS ?= 15000x
FUZZSHORT  := gateway/express:FuzzClient gateway/express:FuzzServer replication/event:FuzzOpen replication/wire:FuzzUnpack replication/wire:FuzzSigned replication/wire:FuzzAssembler replication/wire:FuzzHistory:1000x \
	replication/homes:FuzzRecords consensus:FuzzSegment consensus:FuzzPeerMessage consensus:FuzzSnapshotFile:300x consensus/direct:FuzzReceive \
	dc/store:FuzzStored dc/auth:FuzzEntries dc:FuzzDecodeChunk dc:FuzzDecodeNoteAndMatrix

.PHONY: fuzz-short
fuzz-short: ## some seconds of each of the most exposed decoders; part of make test
	@set -e; for target in $(FUZZSHORT); do \
		IFS=: read -r dir name inputs <<<"$$target"; inputs=$${inputs:-$(FUZZINPUTS)}; \
		out=$$($(GO) test "./$$dir" -vet=off -run '^$$' -fuzz "^$$name\$$" -fuzztime "$$inputs" \
			-fuzzminimizetime $(FUZZMINIMIZE) -timeout $(TIMEOUT) 2>&1) || \
			{ echo "$$out"; echo "fuzz $$dir $$name failed; what it found is under $$dir/testdata/fuzz"; exit 1; }; \
		echo "fuzz $$dir $$name: $$inputs inputs"; \
	done

# The race detector allocates by itself, so that the tests that count skip themselves under it.
.PHONY: allocs
allocs: ## fail when an operation of the hot paths allocates more often than it did; part of make test
	$(GO) test -run '^TestAllocations' -timeout $(TIMEOUT) $$(git grep -l --untracked '"geogate/test/allocs"' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's|^|./|')

.PHONY: unit
unit: ## all tests without the race detector and the linter: quick
	$(GO) test -timeout $(TIMEOUT) $(PKG)

.PHONY: vet
vet: ## go vet
	$(GO) vet $(PKG)

.PHONY: lint
lint: ## golangci-lint in the pinned version; the first time it is compiled, which takes minutes
	$(GO) tool -modfile=$(TOOLS) golangci-lint run $(PKG)

.PHONY: fmt
fmt: ## format the code
	gofmt -w $$(git ls-files '*.go')

.PHONY: fmt-check
fmt-check: ## fail when code is not formatted
	@bad=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [[ -n $$bad ]]; then echo "not formatted, run make fmt:"; echo "$$bad"; exit 1; fi

.PHONY: tidy-check
tidy-check: ## fail when go.mod or go.sum would change by go mod tidy
	$(GO) mod tidy -diff

.PHONY: vuln
vuln: ## look for known vulnerabilities; says so when the database can't be reached
	@out=$$($(GO) tool -modfile=$(TOOLS) govulncheck $(PKG) 2>&1); code=$$?; echo "$$out"; \
	if [[ $$code -ne 0 && $$out == *"fetching vulnerabilities"* ]]; then \
		echo "vuln: the vulnerability database can't be reached from here: nothing was checked"; exit 0; fi; \
	exit $$code

# Of `make faults`; seed 0 draws one.
SECONDS  ?= 180
SEED     ?= 0

.PHONY: faults
faults: ## break a cluster under load and check what clients saw, needs root; SECONDS=60 SEED=7, ARGS="--nodes 3,3,3"
	$(GO) build -trimpath -tags faults -ldflags '$(LDFLAGS)' -o bin/geogate-faults ./cmd/geogate
	$(GO) run ./test/faults --geogate bin/geogate-faults --seconds $(SECONDS) --seed $(SEED) $(ARGS)

.PHONY: patroni
patroni: build ## two PostgreSQL servers under Patroni with geogate as their etcd, needs root and Debian's patroni and postgresql
	test/patroni/run.sh

.PHONY: bench
bench: build ## compare with etcd on this machine; ARGS="--help" lists the flags
	$(GO) run ./test/bench $(ARGS)

.PHONY: bench-quick
bench-quick: build ## the same, short: a first impression
	$(GO) run ./test/bench --quick $(ARGS)

.PHONY: bench-geo
bench-geo: build ## three datacenters over an emulated WAN, beside etcdctl make-mirror; ARGS="--quick" and so on
	$(GO) run ./test/bench --geo $(ARGS)

.PHONY: bench-policies
bench-policies: build ## puts under each policy, and gets, in a fresh dev cluster; ARGS="--rtt 60ms" and so on
	cmd/bench/run.sh 5s $(ARGS)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
