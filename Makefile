# make help lists the targets.
.DEFAULT_GOAL := help
.PHONY: help run build env up up-cluster test test-all test-contract lint test-crash soak crash-programs test-compose test-cluster images fuzz bench bench-go cover clean

root     := github.com/config-api/config-api
modules  := ./shared/... ./services/command/... ./services/query/... ./services/projector/... ./cmd/... ./e2e/...
withpg   := go run ./shared/testkit/withpg
# The tests' own tools don't count.
covered  := $(root)/shared/...,$(root)/services/...
mincover := 90
fuzztime := 100000x
time     := 10m

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

run: build ## run everything on http://127.0.0.1:4000; Ctrl-C stops it
	@scripts/postgres.sh
	@exec bin/configd

build: ## build all programs into bin/
	@mkdir -p bin
	go build -trimpath -o bin/ ./cmd/configd ./cmd/configctl \
		./services/command/cmd/command ./services/query/cmd/query ./services/projector/cmd/projector

env: ## generate passwords for docker compose: into .env and deploy/cluster/.env, where there is none
	@scripts/env.sh .env
	@scripts/env.sh deploy/cluster/.env

# A database keeps the passwords that it was made with.
up: ## build and start the containers, with passwords of their own if the database is new
	@docker volume inspect config-api_postgres >/dev/null 2>&1 || scripts/env.sh .env
	docker compose up -d --build --wait

up-cluster: ## build and start the cluster, with passwords of its own
	@scripts/env.sh deploy/cluster/.env
	docker compose -f deploy/cluster/docker-compose.yml up -d --build --wait

test: ## run the tests against a private Postgres and NATS, but for those that take long
	@scripts/postgres.sh
	@go run ./shared/testkit/runtests -short -covered=$(covered) $(modules)
	@awk -v least=$(mincover) -f scripts/coverage.awk coverage.out

test-all: ## run these tests too
	@scripts/postgres.sh
	@go run ./shared/testkit/runtests -covered=$(covered) $(modules)
	@awk -v least=$(mincover) -f scripts/coverage.awk coverage.out

cover: ## show the last test run's coverage, line by line
	go tool cover -html=coverage.out -o coverage.html
	@echo "open coverage.html"

test-contract: build ## hold bin/configd against its whole contract, and run the tour and the client's example
	@scripts/postgres.sh
	go test -count=1 -tags=contract -run='^Test(Contract|Tour|ClientExample|Configctl)$$' ./e2e/...

test-crash: crash-programs ## kill and break everything again and again while clients write, and count
	@scripts/postgres.sh
	go test -count=1 -tags=crash -run='^TestCrash' -timeout=15m -v ./e2e/... $(if $(seed),-seed=$(seed))

soak: crash-programs ## a fault every 20 seconds for time=10m, with memory watched
	@scripts/postgres.sh
	go test -count=1 -tags=crash -run='^TestSoak$$' -timeout=0 -v ./e2e/... -soak=$(time) $(if $(seed),-seed=$(seed))

# Programs that can be told where to die, and a NATS server.
crash-programs: build
	@mkdir -p bin/crash
	go build -tags=failpoints -trimpath -o bin/crash/ ./services/command/cmd/command ./services/query/cmd/query \
		./services/projector/cmd/projector github.com/nats-io/nats-server/v2

test-compose: ## build, start and test the containers, and remove them again
	@scripts/test-compose.sh

test-cluster: ## the same for the cluster, with kills and a rolling upgrade under load
	@scripts/test-compose.sh cluster

images: ## build the images for amd64 and arm64, with a list of what is in them
	@scripts/images.sh

fuzz: ## run every fuzz test with fuzztime=100000x inputs each
	@grep -rHo --include='*_test.go' 'func Fuzz[A-Za-z0-9_]*' shared services cmd e2e | sort -u | while IFS=: read -r file name; do \
		go test -run='^$$' -fuzz="^$${name#func }$$" -fuzztime=$(fuzztime) "./$$(dirname "$$file")" </dev/null || exit 1; \
	done

bench: build ## measure beside etcd, NATS KV and Postgres, and write docs/benchmarks.md; benchargs= adds flags
	@scripts/postgres.sh
	@GOWORK=off go -C bench build -o ../bin/bench .
	@bin/bench -bin bin $(if $(benchargs),$(benchargs),-out docs/benchmarks.md)

bench-go: ## run the benchmarks of the packages; benchflags= adds flags
	@scripts/postgres.sh
	@$(withpg) -durable -- go test -run='^$$' -bench=. $(benchflags) -vet=off $(modules)

lint: ## vet, linters, formatting, shell scripts, interface documents
	@scripts/lint.sh '$(modules)'

clean: ## remove what the targets above have built
	rm -rf bin coverage.out coverage.html
