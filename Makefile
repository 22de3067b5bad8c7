# make run     build Chancery and start it on ./chancery-data
# make test    set up what the tests need, then lint and test everything
# make help    the rest

SHELL       := bash
.SHELLFLAGS := -o pipefail -ec
MAKEFLAGS   += --no-print-directory

DIR      ?= ./chancery-data
FUZZTIME ?= 30s
TESTARGS ?= ./...

export CGO_ENABLED = 1 # SQLite is C

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
.DEFAULT_GOAL := help

.PHONY: build
build: ## bin/chancery
	@command -v gcc >/dev/null || { echo "gcc is missing: the embedded SQLite is C (Debian: apt-get install gcc libc6-dev)" >&2; exit 1; }
	go build -trimpath -o bin/chancery ./cmd/chancery

.PHONY: run
run: build ## build, and start a certificate authority on $(DIR)
	exec bin/chancery serve --dir $(DIR)

.PHONY: demo
demo: build ## the whole loop in seconds: issue, renew, revoke, OCSP, CRL
	exec bin/chancery demo

.PHONY: deps
deps: ## Debian packages that the tests need (installs them as root, lists them otherwise)
	@.ci/deps

.PHONY: test
test: deps vet floors lint deploy race ## everything

.PHONY: vet
vet:
	go vet ./...

.PHONY: floors
floors: ## imports only go down
	go test -count=1 .

.PHONY: lint
lint: bin/golangci-lint ## budgets and house rules of .golangci.yml
	bin/golangci-lint run

.PHONY: fmt
fmt: bin/golangci-lint ## gofumpt
	bin/golangci-lint fmt

.PHONY: deploy
deploy: ## Dockerfile and docker-compose.yml, by the engines' own parsers
	go -C .ci/deploy test -count=1 ./...

# -json goes through a summary that prints what go test prints, and fails on a
# skipped test too: what a test needs is set up by `make deps`.
.PHONY: race
race: bin/summary ## go test -race -shuffle=on
	go test -race -shuffle=on -timeout=15m -json $(TESTARGS) | bin/summary

.PHONY: fuzz
fuzz: ## every fuzz target for $(FUZZTIME)
	@.ci/fuzz $(FUZZTIME)

.PHONY: attack
attack: ## the long siege: slow connections, big bodies, nonces, hanging validations; prints figures
	ATTACK=long go test -count=1 -v -run='^TestAttack$$' -timeout=30m ./cmd/chancery/catest

.PHONY: bench
bench: ## benchmarks of the packages
	go test -run='^$$' -bench=. -benchmem ./...

.PHONY: clean
clean: ## what make built; never $(DIR)
	rm -rf bin

# Tools are built from pinned versions in a module of their own, once.
bin/golangci-lint: .ci/tools/go.mod .ci/tools/go.sum
	go -C .ci/tools build -trimpath -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

bin/summary: .ci/tools/summary/main.go
	go -C .ci/tools build -trimpath -o ../../bin/summary ./summary
