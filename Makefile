# Every target needs Go, git and make alone, but where it says otherwise.
.DEFAULT_GOAL := help
.PHONY: help build peers clients demo test race prove-locks mutants fuzz lint gen bench bench-locks clean install install-coordd install-locksmith deb

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
	$(GO) test -count=1 -timeout 5m ./locksmith/agent -on-etcd -skip Explore
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

# Where things go. DESTDIR is a folder to put all of it into, for packages.
DESTDIR ?=
PREFIX  ?= /usr/local
# polkit reads rules below /usr/local only since version 124.
POLKIT  ?= $(if $(filter /usr,$(PREFIX)),/usr/share,/etc)/polkit-1/rules.d

to      := $(DESTDIR)$(PREFIX)
systemd := $(to)/lib/systemd
# The programs' folder is named in the units.
place = install -d $(dir $(2)) && sed 's|/usr/bin/|$(PREFIX)/bin/|' $(1) > $(2) && chmod 644 $(2)
# What an operator has changed is not written over.
keep  = test -e $(2) || install -D -m $(3) $(1) $(2)
# bash, zsh and fish, by the program itself.
complete = install -d $(to)/share/bash-completion/completions $(to)/share/zsh/site-functions $(to)/share/fish/vendor_completions.d && \
	bin/$(1) completion bash > $(to)/share/bash-completion/completions/$(1) && \
	bin/$(1) completion zsh > $(to)/share/zsh/site-functions/_$(1) && \
	bin/$(1) completion fish > $(to)/share/fish/vendor_completions.d/$(1).fish

install: install-coordd install-locksmith ## what make build has built, with units, users and completions, below DESTDIR and PREFIX (/usr/local)

install-coordd:
	install -D -m 755 -t $(to)/bin bin/coordd bin/coordctl
	$(call place,deploy/systemd/coordd.service,$(systemd)/system/coordd.service)
	install -D -m 644 -t $(systemd)/system deploy/systemd/coordd.socket
	install -D -m 644 -t $(systemd)/system-preset deploy/systemd/90-coordd.preset
	install -D -m 644 deploy/systemd/coordd-sysusers.conf $(to)/lib/sysusers.d/coordd.conf
	install -D -m 644 deploy/systemd/coordd-tmpfiles.conf $(to)/lib/tmpfiles.d/coordd.conf
	install -D -m 644 -t $(to)/share/doc/coordd LICENSE
	install -D -m 644 -t $(to)/share/doc/coordd/examples deploy/coordd.yaml
	$(call keep,deploy/systemd/coordd.env,$(DESTDIR)/etc/coordd/coordd.env,640)
	$(call complete,coordctl)

install-locksmith:
	install -D -m 755 -t $(to)/bin bin/locksmithd bin/locksmithctl
	$(call place,deploy/systemd/locksmithd.service,$(systemd)/system/locksmithd.service)
	$(call place,deploy/systemd/lock-restart@.service,$(systemd)/system/lock-restart@.service)
	$(call place,deploy/systemd/50-start-slot.conf,$(to)/share/doc/locksmith/examples/50-start-slot.conf)
	install -D -m 644 -t $(systemd)/system-preset deploy/systemd/90-locksmith.preset
	install -D -m 644 deploy/systemd/locksmith-sysusers.conf $(to)/lib/sysusers.d/locksmith.conf
	install -D -m 644 deploy/systemd/locksmith-tmpfiles.conf $(to)/lib/tmpfiles.d/locksmith.conf
	install -D -m 644 -t $(DESTDIR)$(POLKIT) deploy/systemd/50-locksmith.rules
	install -D -m 644 -t $(to)/share/doc/locksmith LICENSE
	install -D -m 644 -t $(to)/share/doc/locksmith/examples $(wildcard deploy/systemd/locksmithd-*.conf)
	$(call keep,deploy/systemd/locksmith.env,$(DESTDIR)/etc/locksmith/locksmith.env,640)
	$(call keep,deploy/systemd/locksmithd.yaml,$(DESTDIR)/etc/locksmith/locksmithd.yaml,644)
	$(call complete,locksmithctl)

deb: build ## Debian packages coordd and locksmith in bin/, for the architecture of this machine (needs dpkg-deb)
	deploy/debian/build.sh bin

clean: ## removes what build and peers made
	rm -rf bin e2e/peers/bin e2e/clients/node/node_modules
