# Everything starts here:
#
#   make up      build labctl and bring the lab up
#   make test    install what the tests need and run them
#
# `make help` lists the rest. ARGS is handed on: make up ARGS=--verbose

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# A machine may come with no home at all; the go command and npm want a place for their caches.
ifeq ($(HOME),)
export HOME := $(CURDIR)/.lab/home
endif

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/labctl
	@tools/build.sh bin/labctl ./cmd/labctl -ldflags "$(LDFLAGS)"

.PHONY: up
up: build ## build labctl and bring the lab up
	@bin/labctl up $(ARGS)

.PHONY: down
down: build ## take the lab down again
	@bin/labctl down $(ARGS)

.PHONY: dev
dev: web build ## the chat in one process, without Kubernetes
	@bin/labctl dev $(ARGS)

.PHONY: web
web: ## build the chat's page, where it changed
	@tools/web.sh

.PHONY: check
check: ## format, lint, stacks and charts
	@tools/check.sh

.PHONY: test
test: ## checks and tests, what finds the most in the least time; installs what they need
	@tools/test.sh

.PHONY: test-full
test-full: ## all checks and tests, all with the race detector (takes hours)
	@tools/test.sh --full

.PHONY: unit
unit: ## the Go unit tests alone
	@tools/gotest.sh $$(tools/packages.sh plain)
	@tools/gotest.sh --race $$(tools/packages.sh race)
	@tools/gotest.sh --module images/skipper ./capture

.PHONY: acceptance
acceptance: ## the acceptance scripts of the real binary
	@tools/gotest.sh ./test/acceptance

.PHONY: test-kind
test-kind: ## clusters that kind makes, on this machine's Docker or a private one (needs docker.io, debootstrap and jq)
	@tools/kind.sh

.PHONY: test-azure
test-azure: ## the Azure stacks against azurerm's schema; builds the provider where it cannot be downloaded
	@tools/azure.sh

.PHONY: test-kafka
test-kafka: ## the chat on Apache Kafka of one node and of three, which Maven brings; skipped, and says so, where it does not
	@tools/kafka.sh

.PHONY: docs
docs: ## write docs/cli and docs/configuration.md anew
	@go test ./pkg/cli/root -run TestReference -update
	@go test ./services -run TestConfiguration -update

.PHONY: bench
bench: bench-up bench-image bench-stacks bench-cluster bench-gitops bench-chat bench-shadow bench-tui bench-cold ## all benchmarks; results are appended to .lab/bench.jsonl

.PHONY: bench-up
bench-up: build ## how long up takes, how much memory and disk the lab needs
	@go run ./test/bench up

.PHONY: bench-image
bench-image: build ## how long images take
	@go run ./test/bench image

.PHONY: bench-stacks
bench-stacks: build ## the engine on 50 stacks, beside a shell loop of terraform
	@go run ./test/bench stacks

.PHONY: bench-cluster
bench-cluster: build ## how long three nodes take, and what a connection out of the cluster costs
	@go run ./test/bench cluster

.PHONY: bench-gitops
bench-gitops: build ## how fast Argo CD makes what is in Git, and what it needs
	@go run ./test/bench gitops

.PHONY: bench-chat
bench-chat: build ## how fast the chat is, beside NATS, and whether it keeps its promise while it is broken (PARTS=rooms: a part of that)
	@go run ./test/bench chat $(PARTS)

.PHONY: bench-shadow
bench-shadow: build ## how often the verdict on a shadow is right, and what people notice of a shadow and of its promotion
	@go run ./test/bench shadow

.PHONY: bench-tui
bench-tui: build ## what the screen of labctl status needs, with a thousand pods
	@go run ./test/bench tui

.PHONY: bench-cold
bench-cold: ## the first `make up` of a machine, with all caches empty (takes long)
	@go run ./test/bench cold
