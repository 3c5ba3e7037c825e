//go:build contract

package e2e

import (
	"os"
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
