# The one door: CI and people run the same targets. `make` alone lists them.

GO      ?= go
FUZZTIME ?= 60s
BENCH   ?= .
# What is stamped into the binary. A tree without git history is no mistake.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unversioned)
LDFLAGS := -s -w -X main.version=$(VERSION)
# What viewers see of faults, as the end-to-end tests measured it.
FAULTS  := $(CURDIR)/bin/faults.txt
LINTER  := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: help run test build bench lint fuzz web web-test setup-run setup-test

help:
	@echo 'make run      build all, start the server with two demo cameras, print the pages to open (ARGS="--http.addr :8090")'
	@echo 'make test     install what tests need, and run all of them'
	@echo 'make build    leave bin/banyan'
	@echo 'make bench    run the benchmarks (BENCH=pattern), and measure viewers: banyan bench fanout, banyan bench abr'
	@echo 'make lint     run the linters'
	@echo 'make fuzz     run each fuzz target for FUZZTIME (60s)'

run: setup-run build
	bin/banyan serve --demo $(ARGS)

# The race detector needs cgo; the product is built without. Results are not taken from Go's cache, which cannot see
# the binary and the programs that the end-to-end tests run.
test: setup-test web-test
	$(GO) vet ./...
	@unformatted=$$(git ls-files -z '*.go' 2>/dev/null | xargs -0r gofmt -l); \
	  if [ -n "$$unformatted" ]; then printf 'Run gofmt -w on:\n%s\n' "$$unformatted"; exit 1; fi
	@mkdir -p bin && rm -f $(FAULTS)
	CGO_ENABLED=1 E2E_TABLE=$(FAULTS) $(GO) test -race -count=1 -timeout 20m ./...
	@cat $(FAULTS)

build: web
	CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags '$(LDFLAGS)' -o bin/banyan ./deploy/banyan

bench: build
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...
	bin/banyan bench fanout
	bin/banyan bench abr

lint:
	$(GO) run $(LINTER) run ./...

fuzz: web
	FUZZTIME=$(FUZZTIME) deploy/tools/fuzz

setup-run:
	@deploy/tools/setup run

setup-test:
	@deploy/tools/setup test

# The pages are built into the binary, so they come before everything that compiles it. npm and Vite run only when
# what they read has changed: node_modules follows the lock file, dist follows the sources.
ifneq ($(wildcard edge/web/package.json),)
WEB_SOURCES := $(shell find edge/web -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -not -name '*.go')
WEB_MODULES := edge/web/node_modules/.package-lock.json
WEB_DIST    := edge/web/dist/index.html

web: $(WEB_DIST)

$(WEB_MODULES): edge/web/package.json edge/web/package-lock.json
	cd edge/web && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(WEB_DIST): $(WEB_MODULES) $(WEB_SOURCES)
	cd edge/web && npm run --silent build
	@touch $@

web-test: web
	cd edge/web && npm test --silent
else
web web-test:
endif
