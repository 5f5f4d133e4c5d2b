# make            build all programs into bin/
# make demo       a simulated run, live, on the page that it names (^C stops it)
# make test       every test that this machine can run; says what it leaves out
# make bench      whole-process benchmarks beside cat, DuckDB, Polars and numpy; dtkafka beside Kafka's own
#                 tools; S3 beside files and rclone; dtserve under load (internal/e2e/bench)
# make kafka      a Kafka broker on 127.0.0.1:9092, for those who have none (stop it: scripts/kafka stop)
# make s3         an S3 server on 127.0.0.1:7070, for those who have none (stop it: scripts/s3 stop)
# make test-kafka-long  the Kafka tests in full length
# make selftest   kills programs at work for a minute, and says whether anything was lost or doubled; with a broker of its own,
#                 or with yours: make selftest BOOTSTRAP=HOST:PORT
# make torture    200 rounds of that, with brokers that die too (DT_SEED=N: those of before)
# make screenshots  pictures of every view of the page, into .screenshots (chromium is needed)
# make fuzz       each fuzz target for FUZZTIME (default 30s)
# make lint       gofmt, vet, staticcheck, shellcheck, import rules
# make install    into PREFIX/bin (default: ~/.local)

PROGRAMS  = dtcat dtfilter dtchamber dthist dtkafka dtserve
PREFIX   ?= $(HOME)/.local
FUZZTIME ?= 30s
VERSION   = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS   = -s -w -X dt/internal/tool.Version=$(VERSION)
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

all: check
	@mkdir -p bin
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(PROGRAMS:%=./%)

# One line says what is missing, instead of a page of compiler errors.
check:
	@[ "$$(uname -s)" = Linux ] || { echo "make: these tools need Linux (pipes are enlarged and polled), this is $$(uname -s)" >&2; exit 1; }
	@command -v go >/dev/null || { echo "make: no go on the PATH; Go $(GOVERSION) or newer is needed: https://go.dev/dl" >&2; exit 1; }
	@v=$$(go env GOVERSION | sed 's/^go//; s/[^0-9.].*//'); \
	 [ "$$(printf '%s\n%s\n' $(GOVERSION) "$$v" | sort -V | head -1)" = $(GOVERSION) ] || \
	 { echo "make: Go $$v is too old; Go $(GOVERSION) or newer is needed: https://go.dev/dl" >&2; exit 1; }

GOVERSION = $(shell sed -n 's/^go //p' go.mod)

# More triggers than cosmics have, so that drift times are there within seconds; two dead wires and a hot one for the verdicts.
DEMO = sim:?triggers=20&stale=0&dead=1:11+2:50&hot=4:20

demo: all
	@echo "A simulated run, live: bin/dtcat '$(DEMO)' --run demo --speed 1 | bin/dtfilter | bin/dtchamber | bin/dthist --window 2s --hist2 auto | bin/dtserve   (^C stops it)"
	@bin/dtcat '$(DEMO)' --run demo --speed 1 | bin/dtfilter | bin/dtchamber | bin/dthist --window 2s --hist2 auto | bin/dtserve --title 'miniDT, simulated' --listen 127.0.0.1:5006+

test: all
	@.ci/test $(TESTFLAGS)

kafka:
	@scripts/kafka start

s3:
	@scripts/s3 start

test-kafka-long: all
	@DT_KAFKA_LONG=1 .ci/test -count=1 -timeout 60m -run Kafka

selftest: all
	@go run ./internal/e2e/selftest $(if $(BOOTSTRAP),--bootstrap '$(BOOTSTRAP)')

torture: all
	@DT_TORTURE=$${DT_TORTURE:-200} bash -o pipefail -c "go test ./internal/e2e -count=1 -timeout 4h -run '^TestTorture' -v | grep -v -E '^ *=== '"

bench: all
	@internal/e2e/bench/bench
	@internal/e2e/bench/kafka
	@go test ./internal/e2e -run '^$$' -bench 'S3(Read|Far|FirstWord)' -benchtime 5x
	@go test ./internal/e2e -run '^$$' -bench S3Pace -benchtime 1x
	@go test ./internal/e2e -run '^$$' -bench KafkaResumeCost -benchtime 7x
	@go test ./internal/e2e -run '^$$' -bench KafkaRecover -benchtime 3x
	@go test ./internal/e2e -run '^$$' -bench Serve -benchtime 1x -count 5

screenshots: all
	@go run ./internal/e2e/screenshots

# The package and the name of every fuzz target. Go's fuzzing now and then takes its own time limit, when that comes, for a failure:
# "context deadline exceeded", and no failing input. Such a target is run again, once.
fuzz:
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9]*' . | sed 's|/[^/]*:func | |' | sort | while read -r dir target; do \
		echo "$$dir $$target"; \
		run() { go test "$$dir" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x; }; \
		out=$$(run 2>&1) || case $$out in \
			*'Failing input'*) echo "$$out"; exit 1 ;; \
			*'context deadline exceeded'*) out=$$(run 2>&1) || { echo "$$out"; exit 1; } ;; \
			*) echo "$$out"; exit 1 ;; \
		esac; \
		echo "$$out" | tail -n 3; \
	done

lint: check
	@out=$$(gofmt -l .); [ -z "$$out" ] || { echo "gofmt: $$out" >&2; exit 1; }
	@go vet ./...
	@go run $(STATICCHECK) ./...
	@command -v shellcheck >/dev/null || { echo "make lint: shellcheck is missing (get it: apt-get install shellcheck)" >&2; exit 1; }
	@shellcheck .ci/* internal/e2e/bench/bench internal/e2e/bench/kafka scripts/*
	@.ci/imports

install: all
	@install -d '$(PREFIX)/bin'
	@install -m 755 $(PROGRAMS:%=bin/%) '$(PREFIX)/bin'
	@echo "installed in $(PREFIX)/bin"

clean:
	@rm -rf bin .bench .screenshots

.PHONY: all check demo test kafka s3 test-kafka-long selftest torture bench screenshots fuzz lint install clean
