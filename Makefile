.DEFAULT_GOAL := help
SHELL := /bin/bash

FUZZTIME ?= 10s
BENCH ?=

.PHONY: help
help: ## show what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(if $(DATABASE_URL),,postgres) build ## build and start the server, on http://127.0.0.1:8080; installs PostgreSQL if it is missing
	@exec bin/parley serve

.PHONY: build
build: ## build bin/parley and bin/parley-bench
	@mkdir -p bin
	go build -o bin/ ./cmd/...

.PHONY: test
test: postgres tools ## vet and run all tests with the race detector; installs what is missing
	go vet ./...
	go test -race ./...

.PHONY: check
check: format-check test openapi-check ## everything that has to hold before a commit is merged

.PHONY: bench
bench: postgres build ## measure; BENCH="-count 3 -markdown" and the like are handed on
	bin/parley-bench $(BENCH)

.PHONY: screenshots
screenshots: postgres tools ## take the pictures of the page in docs/ anew
	PARLEY_SCREENSHOTS=$(CURDIR)/docs go test -count=1 -run '^TestScreenshots$$' ./web

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s)
	@for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

.PHONY: format-check
format-check:
	@files=$$(gofmt -l $$(go list -f '{{.Dir}}' ./...)); \
	if [ -n "$$files" ]; then echo "to be formatted with gofmt -w:"; echo "$$files"; exit 1; fi

include openapi/openapi.mk

# install WHAT-FOR DEBIAN-PACKAGES HOMEBREW-PACKAGE; as root, or with sudo.
INSTALL := install() { \
		if command -v apt-get >/dev/null; then \
			local sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
			echo "installing $$2, for $$1"; \
			$$sudo apt-get -qq update && \
			$$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$2 >/dev/null; \
		elif command -v brew >/dev/null; then \
			echo "installing $$3, for $$1"; brew install --quiet $$3; \
		else \
			echo "install $$2 first, for $$1: neither apt-get nor brew is here to do it"; return 1; \
		fi; \
	}; \
	missing() { for name; do ! command -v "$$name" >/dev/null || return 1; done; };

# The folders are those where the server looks.
.PHONY: postgres
postgres:
	@$(INSTALL) if missing initdb && ! ls "$$PARLEY_PG_BIN"/initdb /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb \
			/opt/homebrew/opt/postgresql@*/bin/initdb /usr/local/opt/postgresql@*/bin/initdb 2>/dev/null | grep -q .; then \
		install "the database" postgresql postgresql@17; \
	fi

# The tests also need a C compiler, for the race detector; curl, for the lines of
# the first conversation; a browser, for its EventSource; Node.js, Python and
# openssl, for the examples of docs/AUTH.md; and axe-core, for the page at /.
.PHONY: tools
tools:
	@$(INSTALL) if missing cc; then install "the race detector" "gcc libc6-dev" gcc; fi
	@$(INSTALL) if missing curl; then install "the tests" curl curl; fi
	@$(INSTALL) if missing openssl; then install "the examples" openssl openssl; fi
	@$(INSTALL) if missing node || missing npm; then install "the examples" "nodejs npm" node; fi
	@$(INSTALL) can() { "$$1" -c 'import jwt, cryptography' 2>/dev/null; }; \
	if ! can python3 && ! can /usr/bin/python3; then \
		if command -v apt-get >/dev/null; then install "the examples" "python3-jwt python3-cryptography"; \
		else python3 -m pip install --quiet --user --break-system-packages PyJWT cryptography; fi; \
	fi
	@$(INSTALL) if missing chromium-headless-shell headless-shell chromium chromium-browser google-chrome && \
			! ls -d "/Applications/Google Chrome.app" /Applications/Chromium.app 2>/dev/null | grep -q .; then \
		install "the browser test" chromium-headless-shell chromium || install "the browser test" chromium chromium; \
	fi
	@if ! cmp -s web/test/package-lock.json web/test/node_modules/.installed; then \
		echo "installing axe-core, for the test of the page"; \
		npm ci --prefix web/test --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null && cp web/test/package-lock.json web/test/node_modules/.installed; \
	fi
