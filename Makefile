# Afterhours: what a developer runs. `make test` is the whole suite.

GO       ?= go
TOOL     := $(GO) tool -modfile=tools/go.mod
# Where govulncheck finds the vulnerability database; empty: its usual place.
VULNDB   ?=
# Runs a command with real servers started around it.
SERVERS  := $(GO) run ./internal/testenv/cmd/testservers
TIMEOUT  ?= 25m

.PHONY: all build test kill lint vuln bench bench-months servers clean

all: lint test

build: ## The three commands, into bin/
	$(GO) build -o bin/ ./cmd/...

# The end-to-end tests run commands: to race-instrument their harness, with the
# fake of Google's store in it, would cost minutes and find nothing.
E2E      := ./internal/e2e

test: ## The whole suite, with real Cassandra, Kafka, S3 and GCS
	$(SERVERS) -- sh -ec '$(GO) test -race -timeout $(TIMEOUT) $$($(GO) list ./... | grep -v internal/e2e); \
		$(GO) test -timeout $(TIMEOUT) -parallel 4 $(E2E)'

kill: ## kill -9 ten times of each command on real servers as well
	$(SERVERS) -- $(GO) test -timeout $(TIMEOUT) -run Kill9 -v $(E2E) -kills 10

lint: ## gofmt, go vet, staticcheck, and that go.mod is tidy
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "gofmt these files:"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(GO) mod tidy -diff

vuln: ## Known vulnerabilities in what we link
	$(TOOL) govulncheck $(if $(VULNDB),-db $(VULNDB)) ./...

bench: ## First figures with their floors, in one run
	$(SERVERS) --only cassandra,kafka -- $(GO) run ./internal/bench

bench-months: ## What a day of late events does to the index, and what a sweep over 100,000 complete hours costs
	$(SERVERS) --only cassandra,kafka -- sh -ec '$(GO) run ./internal/bench lanes; $(GO) run ./internal/bench sweep'

servers: ## The test servers, until Ctrl-C
	$(SERVERS)

clean:
	rm -rf bin afterhours-data afterhours-demo
