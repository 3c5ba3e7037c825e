//go:build contract

package e2e

import (
	"os"
	"testing"

	"github.com/config-api/config-api/shared/testkit/contract"
)

// TestContract holds a running system against its interface: the one at
// CONFIG_API_URL, by default that of make run or docker compose.
func TestContract(t *testing.T) {
	url := os.Getenv("CONFIG_API_URL")
	if url == "" {
		url = "http://127.0.0.1:4000"
	}
	t.Run("v1", func(t *testing.T) { contract.V1(t, contract.New(url)) })
	t.Run("v2", func(t *testing.T) { contract.V2(t, contract.New(url)) })
}
