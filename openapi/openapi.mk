# Included by the Makefile of the whole: make openapi, make openapi-check.

OAPI_CODEGEN := github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2

.PHONY: openapi
openapi: ## write openapi/openapi.json anew from the annotations
	go run ./openapi/generate

# The document that is committed is the one that the annotations make, and a good one: redocly
# finds no fault with it, and clients in TypeScript and Go can be made from it.
.PHONY: openapi-check
openapi-check: openapi-fresh openapi-lint openapi-clients

.PHONY: openapi-fresh
openapi-fresh:
	@fresh=$$(mktemp) && trap 'rm -f "$$fresh"' EXIT && go run ./openapi/generate -o "$$fresh" && \
	if ! cmp -s "$$fresh" openapi/openapi.json; then \
		echo "openapi/openapi.json is stale: make openapi, and commit it"; exit 1; fi

# Without Node.js there is no lint and no client, but in continuous integration there must be.
NPM := if ! command -v npm >/dev/null; then \
		echo "npm is missing (install Node.js): openapi.json is not linted"; [ -z "$$CI" ]; exit; fi; \
	cd openapi && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent; } &&

.PHONY: openapi-lint
openapi-lint:
	@$(NPM) REDOCLY_TELEMETRY=off npx --no-install redocly lint --config redocly.yaml openapi.json

.PHONY: openapi-clients
openapi-clients: openapi-client-ts openapi-client-go

.PHONY: openapi-client-ts
openapi-client-ts:
	@$(NPM) dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && cp client/use.ts client/tsconfig.json "$$dir" && \
	npx --no-install openapi-typescript openapi.json -o "$$dir/api.d.ts" && npx --no-install tsc -p "$$dir"

.PHONY: openapi-client-go
openapi-client-go:
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && cp openapi/client/use.go.txt "$$dir/use.go" && \
	go run $(OAPI_CODEGEN) -generate types,client -package client -o "$$dir/client.go" openapi/openapi.json && \
	cd "$$dir" && { go mod init client && go mod edit -require github.com/oapi-codegen/runtime@v1.8.0 && go mod tidy; } >/dev/null 2>&1 && \
	go vet ./... && \
	echo "clients in TypeScript and Go compile"
