# The checks and the programs of this repository. Go, make and git are all it takes, and
# a C compiler for the race detector of `make test`: the tools and the Vault server are
# built from their Go modules, pinned under tools/.

SHELL := bash
.DEFAULT_GOAL := help

BIN     := $(CURDIR)/bin
PLUGIN  := $(BIN)/vault-plugin-secrets-palette

# Vault takes a plugin's version as a semantic one, and makes another out of what is none
# (a bare commit hash), which it then does not find in its catalog.
VERSION := $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || echo v0.0.0-dev)

# How much of each package of the engine its own unit tests must run, in percent.
module  := vault-plugin-secrets-palette
COVERED := $(module)=95 \
	$(addsuffix =95,$(addprefix $(module)/internal/,advice apikey check config input keyname keyusage lease revocation rootcred session store tasks telemetry upstream)) \
	$(addsuffix =97,$(addprefix $(module)/internal/,palette $(addprefix palette/,answer exchange lockout ratelimit secret transport)))

# The modules that are linted and kept tidy.
MODULES := . e2e examples/app tools/binary tools/prose

# The systems that `make reproducible` builds for; TARGETS=all takes all that a release is for.
ALL_TARGETS := $(foreach os,linux darwin windows freebsd,$(os)/amd64 $(os)/arm64)
TARGETS     := linux/amd64
targets      = $(if $(filter all,$(TARGETS)),$(ALL_TARGETS),$(TARGETS))

# RUN=TestName narrows the tests of `make unit` and `make e2e` and shows their logs.
RUN_FLAGS = $(if $(RUN),-v -run '$(RUN)')

# How many end-to-end tests run at a time: they wait most of their time.
E2E_PARALLEL ?= 24

# In CI the second of two builds starts from nothing: see scripts/reproducible.sh.
COLD ?= $(if $(filter true,$(CI)),yes)

# How long Palette is away in `make outage`, and how long `make soak` lasts.
OUTAGE ?= 20m
SOAK   ?= 10m

# What the programs in e2e/ ask for, as absolute paths.
find-vault = VAULT_BIN=$$(scripts/vault.sh --path); export VAULT_BIN PLUGIN_BIN=$(PLUGIN)

say = @printf '\n==> %s\n' '$(1)'

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the plugin into bin/
	@scripts/preflight.sh bin
	$(call say,plugin $(VERSION))
	@# Static, so that it runs in Vault's container image, which has another libc. The
	@# version is given here, so Go need not ask git, which may refuse in a foreign clone.
	scripts/build.sh $(VERSION) $(PLUGIN)

.PHONY: vault
vault: ## Find a Vault server (1.16 or newer), or build one into bin/; VAULT_VERSION=1.19.0 for another
	$(call say,Vault server)
	@scripts/vault.sh

.PHONY: demo
demo: build vault ## Show the engine at work on a real Vault, start to end
	$(call say,demo)
	@# Built and run, not `go run`, which a SIGTERM ends without its child, and so
	@# without the cleaning up.
	@set -e; $(find-vault); (cd e2e && go build -buildvcs=false -o $(BIN)/demo ./cmd/demo); exec $(BIN)/demo

.PHONY: dev
dev: build vault ## Keep a Vault running with the plugin mounted; Enter builds and reloads it
	$(call say,dev)
	@set -e; $(find-vault); (cd e2e && go build -buildvcs=false -o $(BIN)/dev ./cmd/dev); exec $(BIN)/dev -pid $(BIN)/dev.pid

.PHONY: dev-reload
dev-reload: ## Have a running `make dev` build and reload the plugin, and tell how it went
	@test -x $(BIN)/dev || { echo 'there is no make dev running here'; exit 1; }
	@$(BIN)/dev -reload -pid $(BIN)/dev.pid

.PHONY: test
test: ## Run every check: commits, workflows, words and links, format, dependencies, lint, unit tests, monitoring, fuzzing, reproducible builds, end-to-end tests
	@scripts/preflight.sh git compiler bin
	@# What several checks need is built before: they run side by side.
	@$(MAKE) --no-print-directory -s build vault e2e-build $(BIN)/tools/.built $(BIN)/ci/.built $(BIN)/prose/.built $(PROMTOOL)
	@# The end-to-end tests wait most of their time, and get a processor at once when they need
	@# one. Those that judge time run when all else has ended.
	@MAKE='$(MAKE)' scripts/side-by-side.sh \
		e2e-together \
		'nice commits workflows prose fmt-check tidy-check dependencies-check lint unit contract fuzz monitoring reproducible' \
		'nice simulate-race' \
		then e2e-alone

.PHONY: check
check: ## Run what each commit must pass: words and links, format, lint of what is changed, unit tests with the race detector
	@scripts/preflight.sh git compiler bin
	@$(MAKE) --no-print-directory -s $(BIN)/tools/.built $(BIN)/prose/.built
	@MAKE='$(MAKE)' scripts/side-by-side.sh 'prose fmt-check lint-changed simulate-short' unit

.PHONY: unit
unit: ## Run the unit tests with the race detector, and check their coverage
	@scripts/preflight.sh compiler
	$(call say,unit tests)
	@# The simulator is a check of its own.
	go test -race -timeout 5m -covermode=atomic -coverprofile=coverage.out $(RUN_FLAGS) $$(go list ./... | grep -v /internal/simulation$$)
	$(if $(RUN),,scripts/check-coverage.sh coverage.out $(COVERED))

# A seed is one life of a mount; docs/development/simulation.md tells more.
SEEDS ?= 2000
START ?= 1

.PHONY: simulate
simulate: ## Live SEEDS=2000 lives of a mount, with faults, from START=1 on; SEED=17 for one, with its story
	$(call say,simulate)
	cd internal/simulation && $(if $(SEED),SEED=$(SEED),START=$(START) SEEDS=$(SEEDS)) go test -count=1 -timeout 0 -v -run '^TestSimulate$$' .

.PHONY: simulate-faults
simulate-faults: ## Plant each fault of internal/simulation/testdata/faults.txt, and see that the simulator finds it; FAULT=text for some
	$(call say,simulate: planted faults)
	@cd internal/simulation && FAULTS=1 FAULT='$(FAULT)' SEEDS=$(SEEDS) go test -count=1 -timeout 0 -v -run '^TestPlantedFaults$$' .

.PHONY: simulate-race
simulate-race:
	$(call say,simulate: 200 lives with the race detector)
	@cd internal/simulation && SEEDS=200 go test -race -count=1 -timeout 15m .

.PHONY: simulate-short
simulate-short:
	$(call say,simulate: 30 lives)
	@cd internal/simulation && SEEDS=30 go test -count=1 -timeout 5m .

.PHONY: fuzz
fuzz: ## Fuzz what takes foreign input, each target for FUZZTIME=2s, in CI 10s; FUZZ=FuzzToken for one
	$(call say,fuzz)
	@scripts/fuzz.sh

.PHONY: cover
cover: unit ## Write the coverage as a page, coverage.html
	go tool cover -html=coverage.out -o coverage.html

.PHONY: e2e
e2e: build vault e2e-build ## Run the tests of e2e/, on a real Vault; RUN=TestName for one, with its log; SERVER=bao on OpenBao
	@$(MAKE) --no-print-directory $(if $(RUN),e2e-run,contract e2e-together e2e-alone)

# The harness runs without the race detector: the plugin is another process, and TestStress has
# one with it. Built once for all of these.
.PHONY: e2e-build
e2e-build:
	@cd e2e && go build -buildvcs=false -o $(BIN)/e2e ./cmd/e2e && go test -c -o $(BIN)/e2e.test .

run-e2e = @set -e; $(find-vault); cd e2e && exec $(BIN)/e2e

.PHONY: e2e-together
e2e-together:
	$(call say,end-to-end tests)
	$(run-e2e) -phase together -parallel $(E2E_PARALLEL) $(BIN)/e2e.test

.PHONY: e2e-alone
e2e-alone:
	$(call say,end-to-end tests that judge time)
	$(run-e2e) -phase alone $(BIN)/e2e.test

.PHONY: e2e-run
e2e-run:
	@cd e2e && set -o pipefail && go test -race -count=1 $(RUN_FLAGS) ./contract ./cmd/e2e | { grep -vE 'no tests to run|^PASS$$' || true; }
	$(run-e2e) -v -run '$(RUN)' -parallel $(E2E_PARALLEL) $(BIN)/e2e.test

# What of e2e/ needs no Vault, the stand-in's contract above all.
.PHONY: contract
contract:
	$(call say,contract)
	cd e2e && go test -race -count=1 ./contract ./cmd/e2e

.PHONY: outage
outage: build vault ## Take Palette away from a real Vault for 20 minutes (OUTAGE=20m), and see that nothing is lost
	$(call say,Palette away for $(OUTAGE))
	@set -e; $(find-vault); \
		cd e2e && OUTAGE=$(OUTAGE) go test -count=1 -timeout 0 -v -run '^TestALongOutage$$' .

.PHONY: clients
clients: build vault ## Run examples/python, examples/node and Prometheus on a real Vault, with its bad days (5 minutes)
	$(call say,clients)
	@# It installs nothing: where something is missing, that test says what to install. In CI it fails.
	@set -e; $(find-vault); \
		cd e2e && CLIENTS=1 go test -count=1 -timeout 30m -parallel $(E2E_PARALLEL) -v -run '$(or $(RUN),^TestClients)' .

.PHONY: soak
soak: vault ## Keep the engine at Palette's limit for 10 minutes (SOAK=10m), and see that its process does not grow
	$(call say,soak for $(SOAK))
	@set -e; $(find-vault); \
		cd e2e && SOAK=$(SOAK) go test -count=1 -timeout 0 -v -run '^TestSoak$$' .

# Of a release's go.mod, as Kubernetes' own build stamps it.
kubernetes-version = $(shell sed -n 's|^.*k8s.io/kubernetes \(v[0-9.]*\).*|\1|p' tools/kubernetes/go.mod)

# The API server, etcd and the Kubernetes auth method, which a small build of Vault lacks.
$(BIN)/kubernetes/.built: tools/kubernetes/go.mod tools/kubernetes/go.sum
	$(call say,kube-apiserver and etcd (10 minutes the first time))
	cd tools/kubernetes && GOWORK=off GOBIN=$(BIN)/kubernetes go install -ldflags '-X k8s.io/component-base/version.gitVersion=$(kubernetes-version)' tool
	@mv -f $(BIN)/kubernetes/server $(BIN)/kubernetes/etcd
	@touch $@

$(BIN)/helm: tools/helm/go.mod tools/helm/go.sum
	$(call say,helm (minutes the first time))
	cd tools/helm && GOWORK=off go build -o $@ helm.sh/helm/v4/cmd/helm

# A helm on the PATH comes first, and without a chart none is needed.
HELM ?= $(if $(VAULT_CHART),$(or $(shell command -v helm),$(BIN)/helm))

.PHONY: kubernetes
kubernetes: build vault $(BIN)/kubernetes/.built $(HELM) ## Run examples/kubernetes on a real API server, with the operators that VSO_BIN, ESO_BIN, INJECTOR_BIN name
	$(call say,examples/kubernetes)
	@set -e; $(find-vault); \
		cd e2e && KUBERNETES_BIN=$(BIN)/kubernetes HELM='$(HELM)' go test -count=1 -timeout 40m -parallel 8 -v $(if $(RUN),-run '$(RUN)') ./kubernetes

.PHONY: bench
bench: build vault ## Measure the engine on a real Vault against its limits, and write docs/development/performance.md (8 minutes)
	$(call say,bench)
	@set -e; $(find-vault); (cd e2e && go build -buildvcs=false -o $(BIN)/bench ./cmd/bench && cd $(CURDIR)/e2e && exec $(BIN)/bench -out ../docs/development)

.PHONY: microbench
microbench: ## Run the Go benchmarks: the engine's own cost of a read, a renewal and a revocation
	go test -run '^$$' -bench . -benchmem ./...

# OpenTofu's requirements are many and stay in a module of their own.
TOFU := $(BIN)/tofu

$(TOFU): tools/tofu/go.mod tools/tofu/go.sum
	$(call say,OpenTofu (minutes the first time))
	@# Without the flag its version has a -dev that the released program has not.
	cd tools/tofu && GOWORK=off go build -ldflags '-X github.com/opentofu/opentofu/version.dev=no' -o $@ github.com/opentofu/opentofu/cmd/tofu

.PHONY: terraform
terraform: build vault $(if $(TF_PROVIDERS),$(TOFU)) ## Run examples/terraform under OpenTofu on a real Vault; TF_PROVIDERS=dir has its providers
	$(call say,examples/terraform)
	@set -e; $(find-vault); cd e2e && $(if $(TF_PROVIDERS),TF_PROVIDERS='$(abspath $(TF_PROVIDERS))') \
		go test -count=1 -timeout 15m -v -run '^TestTerraform' .

# Prometheus's requirements are many and stay in a module of their own.
# The tag leaves out the service discoveries, which no check needs.
PROMTOOL := $(BIN)/promtool

$(PROMTOOL): tools/monitoring/go.mod
	$(call say,promtool (minutes the first time))
	cd tools/monitoring && GOWORK=off go build -tags remove_all_sd -o $@ github.com/prometheus/prometheus/cmd/promtool

.PHONY: monitoring
monitoring: $(PROMTOOL) ## Check the dashboard, the alerts and the scrape of docs/monitoring
	$(call say,monitoring)
	$(PROMTOOL) check rules docs/monitoring/alerts.yaml
	$(PROMTOOL) test rules docs/monitoring/alerts_test.yaml
	$(PROMTOOL) check config --syntax-only docs/monitoring/prometheus.yaml
	@# Go's cache of results does not see files outside the module.
	cd tools/monitoring && GOWORK=off go test -count=1 -timeout 5m ./...

.PHONY: panels
panels: build vault ## Draw the dashboard's panels from a run on a real Vault (5 minutes)
	$(call say,panels)
	@set -e; $(find-vault); run=$$(mktemp -d); trap 'rm -rf "$$run"' EXIT; \
		(cd e2e && go build -buildvcs=false -o $(BIN)/record-metrics ./cmd/record-metrics && $(BIN)/record-metrics -out "$$run"); \
		(cd tools/monitoring && GOWORK=off go build -buildvcs=false -o $(BIN)/monitoring .); \
		$(BIN)/monitoring -run "$$run" -dashboard docs/monitoring/dashboard.json -out docs/monitoring/dashboard.png

.PHONY: fmt
fmt: $(BIN)/tools/.built ## Format the code
	$(BIN)/tools/gofumpt -w .

.PHONY: fmt-check
fmt-check: $(BIN)/tools/.built ## Check the format
	$(call say,format)
	@unformatted=$$($(BIN)/tools/gofumpt -l .); \
	if [ -n "$$unformatted" ]; then printf 'not formatted (make fmt):\n%s\n' "$$unformatted"; exit 1; fi

.PHONY: lint
lint: $(BIN)/tools/.built ## Run the linters of .golangci.yml
	$(call say,lint)
	@scripts/lint.sh $(MODULES)

.PHONY: lint-changed
lint-changed: $(BIN)/tools/.built
	$(call say,lint of what is changed)
	@scripts/lint.sh --changed $(MODULES)

.PHONY: docs
docs: build vault e2e-build ## Write docs/reference and the table of docs/development/testing.md, by the code and a run on a real Vault
	$(call say,docs)
	@UPDATE_DOCS=1 $(MAKE) --no-print-directory e2e-run RUN=TestReferenceHasTheAnswersOfARealVault
	UPDATE_DOCS=1 go test -count=1 -timeout 5m -run '^(TestMetricsPageIsThatOfTheCode|TestEventsTellWhatChanges)$$' .
	UPDATE_DOCS=1 go test -count=1 -timeout 5m ./internal/reference

# Vale keeps nothing outside bin/.
.PHONY: prose
prose: $(BIN)/prose/.built ## Check words and links: retired words, the sentences of README.md and docs/, links and anchors
	$(call say,prose)
	@scripts/retired-words.sh
	@XDG_CONFIG_HOME=$(BIN)/prose XDG_DATA_HOME=$(BIN)/prose $(BIN)/prose/vale README.md CONTRIBUTING.md docs
	@git ls-files '*.md' | xargs $(BIN)/prose/prose

.PHONY: tidy-check
tidy-check: ## Check that go.mod and go.sum hold what the code needs and no more
	$(call say,modules)
	@failed=0; for module in $(MODULES); do \
		(cd $$module && go mod tidy -diff >/dev/null) || { echo "$$module: run go mod tidy there"; failed=1; }; \
	done; exit $$failed

.PHONY: commits
commits: ## Check that the commits' messages are of the form that the changelog is made from
	$(call say,commits)
	@scripts/check-commits.sh

.PHONY: workflows
workflows: $(BIN)/ci/.built ## Check the workflows and what dependabot is to look at
	$(call say,workflows)
	@# Run scripts are checked too where there is a shellcheck.
	$(BIN)/ci/actionlint
	scripts/check-dependabot.sh

.PHONY: vulnerabilities
vulnerabilities: $(BIN)/ci/.built ## Look for known vulnerabilities in what the plugin calls (asks vuln.go.dev)
	$(call say,vulnerabilities)
	$(BIN)/ci/govulncheck ./...

# What tells of the binary is a program of its own module.
tell-dependencies = cd tools/binary && GOWORK=off go run ./cmd/dependencies -root $(CURDIR) -reasons reasons.txt

.PHONY: dependencies
dependencies: ## Write docs/development/dependencies.md: what is in the plugin binary, how big, and why
	$(call say,dependencies)
	$(tell-dependencies)

.PHONY: dependencies-check
dependencies-check: ## Check docs/development/dependencies.md, and that nothing is in the plugin that only tests need
	$(call say,dependencies)
	@$(tell-dependencies) -check

.PHONY: reproducible
reproducible: ## Build the plugin twice, in different folders, and compare; TARGETS=all, or "linux/amd64 …"; COLD=yes as in CI
	$(call say,reproducible builds)
	@COLD=$(COLD) scripts/reproducible.sh $(VERSION) $(targets)

.PHONY: changelog
changelog: $(BIN)/release/.built ## Write the commits into CHANGELOG.md; RELEASE=v0.1.0 makes its section of [Unreleased]
	@CHGLOG=$(BIN)/release/chglog scripts/changelog.sh $(RELEASE)

.PHONY: changelog-check
changelog-check: $(BIN)/release/.built ## Check that CHANGELOG.md has a section RELEASE=v0.1.0 with its commits
	@CHGLOG=$(BIN)/release/chglog scripts/changelog.sh --check $(RELEASE)

# GoReleaser finds cyclonedx-gomod on the PATH, and the modules in Go's cache.
goreleaser = PATH="$(BIN)/release:$$PATH" GOMODCACHE="$$(go env GOMODCACHE)" GOPROXY="$$(go env GOPROXY)" goreleaser

.PHONY: release-dry-run
release-dry-run: workflows $(BIN)/release/.built ## Make a release in dist/ and check it, without signing, container image and publishing
	$(call say,release)
	$(goreleaser) check
	$(goreleaser) release --snapshot --clean --skip=publish,docker,sign
	@$(MAKE) --no-print-directory release-check

.PHONY: release
release: $(BIN)/release/.built ## Make a release of the tag at HEAD as .github/workflows/release.yml does; NOTES=file for its page
	$(goreleaser) release --clean $(if $(NOTES),--release-header $(NOTES))

.PHONY: release-check
release-check: ## Check the release in dist/, and build TARGETS again to compare
	$(call say,release: what is in dist/)
	cd tools/binary && GOWORK=off go run ./cmd/release-check -root $(CURDIR)
	@version=$$(sed -n 's/.*"version":"\([^"]*\)".*/\1/p' dist/metadata.json); \
	COLD=yes SUMS=dist/vault-plugin-secrets-palette_$${version}_SHA256SUMS scripts/reproducible.sh v$$version $(targets)

.PHONY: clean
clean: ## Remove what was built and measured (Vault takes minutes to build again)
	rm -rf $(BIN) dist coverage.out coverage.html

# The tools are programs of their own module, so that their requirements stay out of the
# plugin's.
$(BIN)/tools/.built: tools/go.mod tools/go.sum
	$(call say,tools: gofumpt and golangci-lint (minutes the first time))
	cd tools && GOWORK=off GOBIN=$(BIN)/tools go install tool
	@touch $@

$(BIN)/prose/.built: $(wildcard tools/prose/*.go) tools/prose/go.mod tools/prose/go.sum
	$(call say,tools: Vale and what checks links (a minute the first time))
	cd tools/prose && GOWORK=off GOBIN=$(BIN)/prose go install tool .
	@touch $@

# Apart, so that the checks need not build GoReleaser.
$(BIN)/ci/.built: tools/ci/go.mod tools/ci/go.sum
	$(call say,tools: actionlint and govulncheck)
	cd tools/ci && GOWORK=off GOBIN=$(BIN)/ci go install tool
	@touch $@

$(BIN)/release/.built: tools/release/go.mod tools/release/go.sum
	$(call say,tools: goreleaser and what else makes a release (minutes the first time))
	cd tools/release && GOWORK=off GOBIN=$(BIN)/release go install tool
	@touch $@
