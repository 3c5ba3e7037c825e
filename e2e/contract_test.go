//go:build contract

package e2e

import (
	"os"
	"os/exec"
	"testing"

	"github.com/config-api/config-api/shared/testkit/contract"
)

// TestContract holds a running system against its interface: the one at
// CONFIG_API_URL, that of make run or docker compose, or else bin/configd on new
// data.
func TestContract(t *testing.T) {
	api := contract.New(os.Getenv("CONFIG_API_URL"))
	if api.URL == "" {
		d := newDaemon(t)
		d.start(t)
		d.awaitReady(t)
		api = contract.New(d.url)
		t.Run("empty", func(t *testing.T) { contract.Empty(t, api) })
		t.Cleanup(func() { d.interrupt(t) })
	}
	t.Run("v1", func(t *testing.T) { contract.V1(t, api) })
	t.Run("v2", func(t *testing.T) { contract.V2(t, api) })
	t.Run("limits", func(t *testing.T) { contract.Limits(t, api) })
}

// TestTour runs what the README shows, as it stands there, on new data: of the
// system at CONFIG_API_URL, or else of bin/configd.
func TestTour(t *testing.T) {
	if url := os.Getenv("CONFIG_API_URL"); url != "" {
		contract.Tour(t, contract.New(url), "..")
		return
	}
	d := newDaemon(t)
	d.start(t)
	d.awaitReady(t)
	contract.Tour(t, contract.New(d.url), "..")
	d.interrupt(t)
}

// TestClientExample runs the Go client's example program.
func TestClientExample(t *testing.T) {
	d := newDaemon(t)
	d.start(t)
	d.awaitReady(t)
	cmd := exec.CommandContext(t.Context(), "go", "run", "../shared/client/example", d.url)
	out, err := cmd.CombinedOutput()
	const want = "checkout.timeout is 30, version 1\n" +
		"refused: it has version 1 now\n" +
		"ann set checkout.timeout to 45: the bank is slow\n" +
		"ann set flags.new-cart to true: launch\n" +
		"before the launch it was 30\n" +
		"back: checkout.timeout is 30, flags.new-cart is not set\n"
	if err != nil || string(out) != want {
		t.Errorf("the example printed (%v)\n%swant\n%s", err, out, want)
	}
	d.interrupt(t)
}
