# make demo    a server to try, on 127.0.0.1:8080 (or $ADDR), with its keys in httpkey.db (or $HTTPKEY_DSN)
# make test    every test of every module; needs Go alone
# make lint    gofmt, go mod tidy, go vet, golangci-lint (with staticcheck), actionlint
# make models  the limiters and the tokens in memory beside their models, in full: under the race detector, make test takes a tenth of the steps
# make integration  the stores and limiters on real servers, which it starts: Redis, PostgreSQL, MariaDB; the middleware behind Varnish and nginx
# make browser  the console in a headless Chromium, which must be installed, as npm
# make pictures  those of the README, from the same page
# make vulnerabilities  known vulnerabilities of the required versions of all modules, Go and npm; needs the network
# make newest  the tests of every module but internal/browser on the newest versions of its dependencies; changes no go.mod; needs the network
# make apidiff  changes of the exported API since the last tag; after v1.0.0, incompatible ones fail
# make fuzz    each fuzz target for $(FUZZTIME)
# make bench   the middleware beside its peers; some five minutes on a quiet machine
# make bench-http  whole processes under wrk, which must be installed
# make bench-redis  keys and limits in a redis-server, which must be installed
# make bench-sql  keys and limits in PostgreSQL and MariaDB, which must be installed, and SQLite; some four minutes
# make bench-flood  a flood of made-up keys on a pool of connections, PostgreSQL and Redis; some three minutes

MODULES  := . otel prom cmd/httpkey examples internal/bench
EQUIPPED := internal/integration internal/browser
FUZZTIME ?= 30s

# The race detector needs a C compiler (on Linux and Windows). RACE=auto uses it
# where it works, RACE=-race, as in CI, fails where it does not, RACE= leaves it out.
RACE     ?= auto

# REQUIRE_TOOLS=1 fails the tests that are otherwise skipped where wrk, a server or Chromium is missing.
export REQUIRE_TOOLS

GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK   := go run golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT    := go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: demo test models integration browser pictures lint vulnerabilities newest apidiff fuzz bench bench-http bench-redis bench-sql bench-flood

demo:
	@mkdir -p bin
	@cd examples && go build -o ../bin/quickstart ./quickstart
	@exec bin/quickstart

test:
	@race=$(RACE); \
	if [ "$$race" = auto ]; then race=-race; \
		go build -race . 2>/dev/null || { race=; echo "make test: without the race detector, which needs cgo and a C compiler ($$(go env CC))"; }; \
	fi; \
	for module in $(MODULES); do \
		echo "== $$module" && (cd $$module && go test $$race -shuffle=on ./...) || exit 1; \
	done

models:
	go test -count=1 -run='Model|Agrees|Equals|AtOnce' ./internal/gcra ./internal/ram ./memstore ./redisstore

# Most tests wait for a server or for time to pass, so more run at once than there are CPUs. Those of Redis come
# first: in their outages a request has a tenth of a second, which the load of the others would take.
integration:
	@race=$(RACE); \
	if [ "$$race" = auto ]; then race=; fi; \
	cd internal/integration && \
	go test $$race -shuffle=on -parallel=6 -timeout=20m -run=^TestRedis ./... && \
	go test $$race -shuffle=on -parallel=6 -timeout=25m -skip=^TestRedis ./...

browser:
	@cd internal/browser && \
	if command -v npm >/dev/null; then npm ci --ignore-scripts --no-audit --no-fund --loglevel=error; fi && \
	go test -shuffle=on -timeout=20m ./...

pictures:
	@cd internal/browser && REQUIRE_TOOLS=1 go test -count=1 -run=^TestReadmePictures$$ . -update

lint:
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt -w:" $$unformatted >&2; exit 1; }
	@GOARCH=386 go vet ./... # int has 32 bits there
	@for module in $(MODULES) $(EQUIPPED); do \
		echo "== $$module" && (cd $$module && go mod tidy -diff && go vet ./... && $(GOLANGCI_LINT) run ./...) || exit 1; \
	done
	@$(ACTIONLINT) -shellcheck= -pyflakes= # not what this machine happens to have

# The scan of modules also finds a vulnerability that no code reaches.
vulnerabilities:
	@for module in $(MODULES) $(EQUIPPED); do \
		echo "== $$module" && (cd $$module && $(GOVULNCHECK) -scan=module) || exit 1; \
	done
	npm audit --prefix internal/browser

newest:
	@.ci/newest $(MODULES) internal/integration

apidiff:
	@.ci/apidiff

fuzz:
	go test -run='^$$' -fuzz=FuzzAccepts -fuzztime=$(FUZZTIME) ./internal/keyformat
	go test -run='^$$' -fuzz=FuzzBehindProxies -fuzztime=$(FUZZTIME) ./internal/address
	go test -run='^$$' -fuzz=FuzzHeaderPath -fuzztime=$(FUZZTIME) .
	go test -run='^$$' -fuzz=FuzzMore -fuzztime=$(FUZZTIME) .
	go test -run='^$$' -fuzz=FuzzTable -fuzztime=$(FUZZTIME) -fuzzminimizetime=20x ./internal/ram
	go test -run='^$$' -fuzz=FuzzText -fuzztime=$(FUZZTIME) ./internal/ram
	go test -run='^$$' -fuzz=FuzzLimiters -fuzztime=$(FUZZTIME) ./memstore
	go test -run='^$$' -fuzz=FuzzCursor -fuzztime=$(FUZZTIME) ./console
	go test -run='^$$' -fuzz=FuzzIfMatch -fuzztime=$(FUZZTIME) ./console
	go test -run='^$$' -fuzz=FuzzIdempotencyKey -fuzztime=$(FUZZTIME) ./console
	go test -run='^$$' -fuzz=FuzzMerge -fuzztime=$(FUZZTIME) ./console/internal/csp
	go test -run='^$$' -fuzz=FuzzFold -fuzztime=$(FUZZTIME) ./console/internal/legible

bench:
	@cd internal/bench && go run . -svg uniform.svg

bench-http:
	@cd internal/bench && go run . -http

bench-redis:
	@cd internal/bench && go run . -redis

bench-sql:
	@cd internal/integration && go test -run='^$$' -bench='^BenchmarkSQL$$' -benchtime=1x .

bench-flood:
	@cd internal/integration && go test -run='^$$' -bench='^BenchmarkFlood$$' -benchtime=1x .
