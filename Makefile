# Afterhours: what a developer runs. `make test` is the whole suite.

GO       ?= go
TOOL     := $(GO) tool -modfile=tools/go.mod
# Where govulncheck finds the vulnerability database; empty: its usual place.
VULNDB   ?=
# Runs a command with real servers started around it.
SERVERS  := $(GO) run ./internal/testenv/cmd/testservers
TIMEOUT  ?= 25m
# How long the proofs run that have no end of their own.
SECONDS  ?= 60
FOR      ?= 30m
FUZZTIME ?= 60s
# Flags of bench and bench-compact.
BENCH    ?=

.PHONY: all build test model sim mutations metamorphic soak fuzz readers kill lint vuln bench bench-compact bench-months servers clean

all: lint test

build: ## The three commands, into bin/
	$(GO) build -o bin/ ./cmd/...

# What runs commands or servers most of its time: to race-instrument its harness, with
# the fake of Google's store in it, would cost minutes and find nothing.
UNRACED  := e2e|metamorphic|soak|testenv

test: ## The whole suite, with real Cassandra, Kafka, S3 and GCS
	$(SERVERS) -- sh -ec '$(GO) test -race -p 3 -timeout $(TIMEOUT) $$($(GO) list ./... | grep -vE "/internal/($(UNRACED))$$"); \
		$(GO) test -p 3 -timeout $(TIMEOUT) -parallel 4 $$($(GO) list ./... | grep -E "/internal/($(UNRACED))$$")'

model: ## Every world of the protocol's model, with pairs of faults: many minutes, up to 4 GiB
	$(GO) test ./internal/model -run Protocol -full -v -timeout 2h

sim: ## Fault schedules of the real code, as many as fit into SECONDS, with fresh seeds
	$(GO) test ./internal/sim -run 'TestSim$$' -v -timeout 0 -procs 2 -seconds $(SECONDS)

mutations: ## Takes mechanisms out of the real code, one at a time: does the simulation find it? docs/proofs.md says which it does not
	$(GO) test ./internal/sim -run TestMutations -mutations -v -timeout 0

metamorphic: ## The same events in many more ways than make test tries
	$(SERVERS) -- $(GO) test ./internal/metamorphic -v -timeout 2h -seeds 200

soak: ## The real commands on real servers under faults, FOR some time
	$(GO) run ./internal/soak --for $(FOR)

fuzz: ## Every fuzz target for FUZZTIME
	@for p in $$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
		for f in $$($(GO) test -list '^Fuzz' ./$$p | grep '^Fuzz'); do \
			$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) ./$$p || exit 1; done; done

readers: ## DuckDB, Spark and others read an hour while it is replaced; downloads some 2 GB once
	$(SERVERS) --only s3 -- $(GO) run ./internal/readers

kill: ## kill -9 ten times of each command on real servers as well
	$(SERVERS) -- $(GO) test -timeout $(TIMEOUT) -run Kill9 -v ./internal/e2e -kills 10

lint: ## gofmt, go vet, staticcheck, and that go.mod is tidy
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "gofmt these files:"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(GO) mod tidy -diff

vuln: ## Known vulnerabilities in what we link
	$(TOOL) govulncheck $(if $(VULNDB),-db $(VULNDB)) ./...

bench: ## Acknowledged writes, beside raw batches in the same run
	$(SERVERS) --only cassandra,kafka -- $(GO) run ./internal/bench ingest $(BENCH)

bench-compact: ## Rebuilds, merges and small hours beside their floors, DuckDB and Polars: an hour or two; BENCH="-only merge -json FILE" and others, docs/performance.md
	$(SERVERS) --only cassandra,s3 -- $(GO) run ./internal/bench compact $(BENCH)

bench-months: ## What a day of late events does to the index, and what a sweep over 100,000 complete hours costs
	$(SERVERS) --only cassandra,kafka -- sh -ec '$(GO) run ./internal/bench lanes; $(GO) run ./internal/bench sweep'

servers: ## The test servers, until Ctrl-C
	$(SERVERS)

clean:
	rm -rf bin afterhours-data afterhours-demo
