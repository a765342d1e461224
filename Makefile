SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# One list: modsync writes it.
MODULES := $(shell sed -n 's|^[[:space:]]*\./||p' go.work)
# Test what a consumer gets.
export GOWORK ?= off
TOOL_golangci-lint := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
TOOL_controller-gen := sigs.k8s.io/controller-tools/cmd/controller-gen
.PRECIOUS: bin/%
.PHONY: help deps controlplane test test-short demo lint hygiene modules modules-check generate generate-check tidy \
	tidy-check clean-tree check bench fuzz trace build release-check FORCE

help: ## Show targets
	@awk -F':.*## ' '/^[a-z%\/-]+:.*## /{printf "  %-16s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

deps: ## Install what tests need where it can; say what it could not
	@tools/deps.sh

controlplane: ## Build the test control plane once into the user's cache (minutes when cold)
	@go -C testserver run ./kube/cmd/build

test: deps controlplane $(MODULES:%=test/%) ## Test every module against real servers

test/%: FORCE ## Test one module: make test/ssa
	cd $* && go test -race -tags failpoints $(TESTFLAGS) ./...

test-short: $(MODULES:%=test-short/%) ## Test what needs no server

test-short/%: FORCE
	cd $* && go test -short ./...

demo: ## A GitOps deployment on this machine; KEEP=1 stays up; KUBECONFIG=… uses a real cluster
	@echo 'building; the first time this takes minutes' >&2
	@go -C examples run ./demo $(if $(KEEP),-keep)

build: ## Build every module in the workspace, and the manager into bin/
	GOWORK=$(CURDIR)/go.work go build $(MODULES:%=./%/...)
	go -C controllers build -trimpath -o ../bin/manager ./cmd/manager

# The control plane apart: whoever changes it lints it.
lint: $(MODULES:%=lint/%) ## Lint every module; make lint/git for one

# As it is built, so that Kubernetes is compiled once.
lint/testserver/controlplane: export GOFLAGS := -trimpath
lint/testserver/controlplane: export CGO_ENABLED := 0
lint/%: bin/golangci-lint FORCE
	cd $* && $(CURDIR)/bin/golangci-lint run --config $(CURDIR)/.golangci.yml ./...

hygiene: ## Check layers, sizes, docs, headers, snippets, dependency budgets
	go -C tools test -count=1 ./... # what it reads is no input that the cache knows

modules: ## Rewrite go.work, sibling requires and replaces, shared copies
	go -C tools run ./modsync -write

modules-check:
	go -C tools run ./modsync -check

generate: bin/controller-gen ## Regenerate deepcopy, CRDs, deps.txt and the snippets of pages
	@tools/generate.sh
	go -C tools run ./deps -write
	go -C tools run ./snippets -write

generate-check: generate clean-tree

tidy: $(MODULES:%=tidy/%) tidy/testserver/controlplane ## go mod tidy in every module

# git2go's own tests want a package that x/crypto no longer has.
tidy/git/libgit2: TIDYFLAGS := -e
tidy/%: FORCE
	cd $* && go mod tidy $(TIDYFLAGS)

clean-tree: ## Fail when a target changed the tree
	@git diff --exit-code --stat && test -z "$$(git status --porcelain)" || { git status --short; exit 1; }

trace: ## Count the requirements that tests name
	go -C tools run ./trace

check: modules-check generate-check lint hygiene test trace clean-tree ## What CI runs

bench: ## Compare with peers, side by side (slow; not in CI)
	@for m in bench/*/; do echo "==> $$m"; (cd $$m && go run .); done

fuzz: ## Fuzz every target for FUZZTIME (default 30s each)
	@tools/fuzz.sh

release-check: ## Fresh consumer of every module, from a local proxy
	go -C tools run ./release -dry-run

bin/%: tools/pinned/go.mod
	go -C tools/pinned build -trimpath -o $(CURDIR)/$@ $(TOOL_$*)

FORCE:
