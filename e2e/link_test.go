//go:build crash && linux

package e2e

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// link is the network between a program and Postgres or NATS: what passes it can
// be slow, stand still, break, or break exactly at a COMMIT.
type link struct {
	address  string
	dial     func() (net.Conn, error)
	postgres bool // understand what passes
	delay    atomic.Int64
	commits  atomic.Int32 // see cutAtCommit

	mu    sync.Mutex
	conns map[net.Conn]bool
	open  chan struct{} // closed while traffic passes
}

// What happens to a connection at its next COMMIT.
const (
	passCommit    = iota
	loseCommit    // the server does not get it
	loseCommitted // the server does it, and its answer is lost
)

func newLink(t *testing.T, postgres bool, dial func() (net.Conn, error)) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{address: listener.Addr().String(), dial: dial, postgres: postgres, conns: map[net.Conn]bool{}, open: make(chan struct{})}
	close(l.open)
	t.Cleanup(func() {
		_ = listener.Close()
		l.heal()
		l.cut()
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go l.serve(conn)
		}
	}()
	return l
}

// slow makes each piece of traffic take as long, each way.
func (l *link) slow(d time.Duration) { l.delay.Store(int64(d)) }

// part stops all traffic; what is sent meanwhile arrives after heal.
func (l *link) part() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = make(chan struct{})
}

func (l *link) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
	default:
		close(l.open)
	}
}

// cut breaks all connections; new ones can be made.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		_ = conn.Close()
	}
}

// cutAtCommit breaks the next connection that commits.
func (l *link) cutAtCommit(how int32) { l.commits.Store(how) }

func (l *link) pass() {
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	<-open
	if d := time.Duration(l.delay.Load()); d > 0 {
		time.Sleep(d) // the fault itself
	}
}

func (l *link) keep(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[conn] = true
}

func (l *link) drop(conn net.Conn) {
	_ = conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
}

func (l *link) serve(client net.Conn) {
	l.keep(client)
	defer l.drop(client)
	l.pass()
	server, err := l.dial()
	if err != nil {
		return
	}
	l.keep(server)
	defer l.drop(server)
	var silent atomic.Bool // the server's answers are lost
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		defer func() { _ = client.Close() }()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil || silent.Load() {
				return
			}
			l.pass()
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	if !l.postgres {
		buf := make([]byte, 64<<10)
		for {
			n, err := client.Read(buf)
			if err != nil {
				return
			}
			l.pass()
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	requests := pgRequests{from: client, named: map[string]bool{}}
	for {
		request, commits, err := requests.next()
		if err != nil {
			return
		}
		l.pass()
		how := int32(passCommit)
		if commits {
			how = l.commits.Swap(passCommit)
		}
		if how == loseCommit {
			return
		}
		silent.Store(how == loseCommitted)
		if _, err := server.Write(request); err != nil || how == loseCommitted {
			if err == nil {
				<-answered // so it is done
			}
			return
		}
	}
}

// pgRequests cuts what a client of Postgres sends into what is answered together.
type pgRequests struct {
	from    io.Reader
	started bool
	named   map[string]bool // prepared statements that commit
}

// next returns a request, and whether it commits.
// https://www.postgresql.org/docs/current/protocol-message-formats.html
func (r *pgRequests) next() (request []byte, commits bool, err error) {
	for {
		header := 5
		if !r.started { // the startup message has no type
			header = 4
		}
		head := make([]byte, header)
		if _, err := io.ReadFull(r.from, head); err != nil {
			return nil, false, err
		}
		body := make([]byte, int(binary.BigEndian.Uint32(head[header-4:]))-4)
		if _, err := io.ReadFull(r.from, body); err != nil {
			return nil, false, err
		}
		request = append(append(request, head...), body...)
		if !r.started {
			r.started = true
			return request, false, nil
		}
		first, rest, _ := bytes.Cut(body, []byte{0})
		second, _, _ := bytes.Cut(rest, []byte{0})
		switch head[0] {
		case 'P': // Parse: name, SQL
			r.named[string(first)] = strings.EqualFold(string(second), "commit")
		case 'B': // Bind: portal, name
			commits = commits || r.named[string(second)]
		case 'D', 'E', 'C': // Describe, Execute, Close
		case 'Q': // a simple query
			return request, commits || strings.EqualFold(string(first), "commit"), nil
		default: // Sync, Flush, a password
			return request, commits, nil
		}
	}
}
