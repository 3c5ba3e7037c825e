package testkit

import (
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// NATSServer is a server with JetStream in this process, on a loopback port that
// stays the same over a restart.
type NATSServer struct {
	URL      string
	StoreDir string
	running  *server.Server
}

// NATS starts a server that is stopped when the test ends. Its files lie in the
// test's temporary directory and are not synced.
func NATS(t testing.TB) *NATSServer {
	t.Helper()
	s := &NATSServer{StoreDir: t.TempDir()}
	s.start(t, server.RANDOM_PORT)
	s.URL = s.running.ClientURL()
	t.Cleanup(s.Stop)
	return s
}

// Conn returns a connection that is closed when the test ends. It reconnects
// for ever, quickly.
func (s *NATSServer) Conn(t testing.TB) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.URL, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatalf("testkit: connect to NATS: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Stop ends the server and returns when it is gone. Twice is as good as once.
func (s *NATSServer) Stop() {
	s.running.Shutdown()
	s.running.WaitForShutdown()
}

// Restart stops the server if it runs, and starts it again on the same files and
// the same port.
func (s *NATSServer) Restart(t testing.TB) {
	t.Helper()
	s.Stop()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatalf("testkit: %v", err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatalf("testkit: %v", err)
	}
	s.start(t, port)
}

func (s *NATSServer) start(t testing.TB, port int) {
	t.Helper()
	running, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: s.StoreDir, MaxPayload: 32 << 20,
	})
	if err != nil {
		t.Fatalf("testkit: NATS server: %v", err)
	}
	running.Start()
	if !running.ReadyForConnections(10 * time.Second) {
		t.Fatal("testkit: the NATS server does not get ready")
	}
	s.running = running
}
