# make demo    a server to try, on 127.0.0.1:8080 (or $ADDR)
# make test    every test of every module; needs Go alone
# make lint    gofmt, go mod tidy, go vet, golangci-lint (with staticcheck)
# make fuzz    each fuzz target for $(FUZZTIME)

MODULES  := . examples
FUZZTIME ?= 30s

# The race detector needs a C compiler (on Linux and Windows). RACE=require, as in
# CI, fails without one; RACE= leaves it out.
CC_FOUND := $(shell command -v "$$(go env CC)" 2>/dev/null)
RACE     ?= $(if $(CC_FOUND),-race)

GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: demo test lint fuzz

demo:
	@mkdir -p bin
	@cd examples && go build -o ../bin/quickstart ./quickstart
	@exec bin/quickstart

test:
ifeq ($(RACE),require)
	@test -n "$(CC_FOUND)" || { echo "make test: RACE=require, but there is no C compiler ($$(go env CC)) for the race detector" >&2; exit 1; }
else ifeq ($(RACE),)
	@echo "make test: without the race detector, which needs a C compiler ($$(go env CC))"
endif
	@for module in $(MODULES); do \
		echo "== $$module" && (cd $$module && go test $(patsubst require,-race,$(RACE)) -shuffle=on ./...) || exit 1; \
	done

lint:
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt -w:" $$unformatted >&2; exit 1; }
	@for module in $(MODULES); do \
		echo "== $$module" && (cd $$module && go mod tidy -diff && go vet ./... && $(GOLANGCI_LINT) run ./...) || exit 1; \
	done

fuzz:
	go test -run='^$$' -fuzz=FuzzSecretParser -fuzztime=$(FUZZTIME) .
	go test -run='^$$' -fuzz=FuzzHeaderPath -fuzztime=$(FUZZTIME) .
	go test -run='^$$' -fuzz=FuzzLimiters -fuzztime=$(FUZZTIME) ./memstore
