//go:build crash && linux

package e2e

import "testing"

// checkCluster checks all that must hold, when nobody writes any more.
func checkCluster(t *testing.T, c *cluster, l *load, f *followers) {
	t.Helper()
	if err := c.awaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	on := target{api: c.gateway.url, database: c.direct, nats: "nats://" + c.natsAddress}
	for _, q := range c.queries {
		on.queries = append(on.queries, q.url())
	}
	events := checkSystem(t, on, l.acknowledged())
	l.check(t, events, f, on.queries)
}
