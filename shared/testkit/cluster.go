package testkit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATSCluster is three servers with JetStream in this process.
type NATSCluster struct {
	URL     string // of all three
	Servers []*server.Server
	options []*server.Options
}

// Cluster starts three servers that are stopped when the test ends.
func Cluster(t testing.TB) *NATSCluster {
	t.Helper()
	const size = 3
	c := &NATSCluster{}
	var clients, cluster []int
	for range size {
		clients, cluster = append(clients, FreePort(t)), append(cluster, FreePort(t))
	}
	var routes, urls []string
	for i := range size {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", cluster[i]))
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", clients[i]))
	}
	c.URL = strings.Join(urls, ",")
	for i := range size {
		c.options = append(c.options, &server.Options{
			ServerName: fmt.Sprint("n", i+1), Host: "127.0.0.1", Port: clients[i], NoLog: true, NoSigs: true,
			JetStream: true, StoreDir: t.TempDir(), MaxPayload: 32 << 20,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: cluster[i]},
			Routes:  server.RoutesFromStr(strings.Join(routes, ",")),
		})
		c.Servers = append(c.Servers, nil)
	}
	for i := range size {
		c.Start(t, i)
	}
	t.Cleanup(func() {
		for _, s := range c.Servers {
			s.Shutdown()
			s.WaitForShutdown()
		}
	})
	Eventually(t, func() error {
		for _, s := range c.Servers {
			if !s.JetStreamIsCurrent() || s.ClusterAddr() == nil || !s.JetStreamEnabled() {
				return fmt.Errorf("%s is not ready", s.Name())
			}
		}
		for _, s := range c.Servers {
			if s.JetStreamIsLeader() {
				return nil
			}
		}
		return errors.New("the cluster has no leader")
	})
	return c
}

// Start starts a server, again after a Kill on the same files and ports.
func (c *NATSCluster) Start(t testing.TB, i int) {
	t.Helper()
	running, err := server.NewServer(c.options[i].Clone())
	if err != nil {
		t.Fatalf("testkit: NATS server: %v", err)
	}
	running.Start()
	if !running.ReadyForConnections(10 * time.Second) {
		t.Fatal("testkit: the NATS server does not get ready")
	}
	c.Servers[i] = running
}

// KillLeader stops the server that leads a stream, and returns which it was.
func (c *NATSCluster) KillLeader(t testing.TB, stream string) int {
	t.Helper()
	leader := -1
	Eventually(t, func() error {
		for i, s := range c.Servers {
			if s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				leader = i
				return nil
			}
		}
		return fmt.Errorf("%s has no leader", stream)
	})
	c.Servers[leader].Shutdown()
	c.Servers[leader].WaitForShutdown()
	return leader
}

// FreePort returns a port of 127.0.0.1 for a server that will also be stopped and
// started again. It is not among those that systems give to connections, one of
// which would have it meanwhile.
func FreePort(t testing.TB) int {
	t.Helper()
	for {
		port := 15_000 + rand.IntN(17_000)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatalf("testkit: %v", err)
		}
		_ = listener.Close()
		return port
	}
}
