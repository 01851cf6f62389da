# Every target needs Go, git and make alone, but where it says otherwise.
.DEFAULT_GOAL := help
.PHONY: help build peers clients demo test race prove-locks mutants fuzz lint gen bench bench-locks clean

GO       ?= go
FUZZTIME ?= 20s
TOOL     := $(GO) tool -modfile=$(CURDIR)/.ci/tools/go.mod
BINARIES := coordd coordctl locksmithd locksmithctl

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## four static binaries in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -ldflags '-s -w' -o bin/ $(BINARIES:%=./cmd/%)

peers: ## the real etcd, etcdctl and etcdutl that tests and benchmarks compare with, in e2e/peers/bin/
	cd e2e/peers && CGO_ENABLED=0 $(GO) build -trimpath -o bin/etcd go.etcd.io/etcd/server/v3
	cd e2e/peers && CGO_ENABLED=0 $(GO) build -trimpath -o bin/ go.etcd.io/etcd/etcdctl/v3 go.etcd.io/etcd/etcdutl/v3

clients: ## the clients in other languages that tests run: npm's etcd3 (needs npm) and Debian's python3-etcd3
	cd e2e/clients/node && npm ci --ignore-scripts --loglevel=error
	/usr/bin/python3 -c 'import etcd3' || { echo 'install it: apt-get install python3-etcd3'; exit 1; }

demo: build ## six machines reboot one at a time while a member is killed; under a minute
	$(GO) run ./e2e/demo

test: build peers ## all tests; a few minutes on two cores (those on PostgreSQL need it installed, those on machines root and systemd-nspawn)
	$(GO) test -count=1 -timeout 15m ./...
	$(GO) test -count=1 -timeout 5m ./recipes -on-etcd
	cd e2e/databases && $(GO) test -count=1 -timeout 5m ./...

race: build peers ## the packages' tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -count=1 -short -timeout 30m ./...

mutants: peers ## known defects put back one at a time; each must be found by its test. MUTANTS=regexp for some
	$(GO) run ./e2e/mutants -run '$(MUTANTS)'

fuzz: ## every fuzz target for FUZZTIME each, 20 s unless it is set
	@git grep -oE '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | sed -E 's|(.*)/[^/]*_test.go:func (.*)|./\1 \2|' | \
	while read -r package target; do \
		echo "$$target in $$package"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
	done

lint: ## gofmt, go vet, staticcheck, buf lint
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt -w on these'; exit 1; }
	$(GO) vet ./...
	cd e2e/databases && $(GO) vet ./... && $(TOOL) staticcheck ./...
	$(TOOL) staticcheck ./...
	cd proto && $(TOOL) buf lint

gen: ## Go code from proto/
	cd proto && $(TOOL) buf generate

prove-locks: build ## locks under real faults: each arm must come out as it must; ten minutes at most
	$(GO) run ./e2e/prove

bench: build peers ## coordd and etcd side by side: puts, ranges, lock handoff
	$(GO) run ./e2e/bench

bench-locks: build peers ## locks on coordd and on etcd, side by side, against what is claimed of them; about 4 minutes
	$(GO) run ./e2e/bench -locks -pairs 3 -duration 2s

clean: ## removes what build and peers made
	rm -rf bin e2e/peers/bin e2e/clients/node/node_modules
