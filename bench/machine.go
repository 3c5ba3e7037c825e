package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// preface says what was measured, on what, and how to do it again.
func (b *bench) preface() string {
	var out strings.Builder
	fmt.Fprintf(&out, `# Benchmarks

Config API beside its peers, in one run on one machine with one load generator. Written by `+"`make bench`"+` on %s; do it
again with the same command (about half an hour), or a part of it with `+"`make bench benchargs='-only put,get'`"+`.

Every system is a process of its own (Config API: configd --log-level=error, which is its three services with NATS in one
process, and Postgres), the load generator is another, and all share the machine. The systems take turns: %d rounds, each measurement
%v. A figure is the median of the rounds, with the least and the most. Names have 20 bytes, values %d. Every system answers a
write when it is on the disk: Postgres with fsync and synchronous_commit, NATS with sync_interval always, etcd with its
defaults.

| | |
|---|---|
`, time.Now().UTC().Format("2006-01-02"), b.rounds, b.span, valueSize)
	for _, row := range [][2]string{
		{"processor", fmt.Sprintf("%s, %d logical", cpu(), runtime.NumCPU())},
		{"system", first("uname", "-sr")},
		{"Go", runtime.Version()},
		{"Postgres", first("psql", "--version")},
		{"etcd", version("go.etcd.io/etcd/server/v3")},
		{"nats-server", version("github.com/nats-io/nats-server/v2")},
		{"echo", version("github.com/labstack/echo/v4")},
		{"Config API", first("git", "describe", "--always", "--dirty")},
	} {
		fmt.Fprintf(&out, "| %s | %s |\n", row[0], row[1])
	}
	return out.String()
}

func first(program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return "unknown"
}

func cpu() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, " \t:\n")
		}
	}
	return runtime.GOARCH
}
