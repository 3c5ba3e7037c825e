package eventlog_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/testkit"
)

// A connection that breaks at COMMIT leaves its client not knowing whether the
// transaction took effect. Either way the command must be there once.
func TestCommitInDoubt(t *testing.T) {
	t.Parallel()
	direct := testkit.DatabaseURL(t, eventlog.Schema)
	want, versions := int64(0), map[string]int64{}
	for _, test := range []struct {
		name                  string
		committed, remembered bool
	}{
		{"lost before the server saw it", false, false},
		{"done, but its answer lost", true, false},
		{"lost, and decided from memory", false, true},
		{"done, and decided from memory", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			cut := newCutter(t, direct)
			pool, err := pg.Open(t.Context(), cut.url, "test")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			log := open(t, pool)
			mustAppend(t, log, set("a", `1`)) // statements are prepared from here on
			want += 2
			versions["a"]++
			name, pipelines := "a", 2 // what is read, then what is written
			if test.remembered {
				warm := remembering(t, log)
				want += warm
				versions["warm"] += warm
				name, pipelines = "warm", 1
			}
			cut.arm(pipelines, test.committed)
			versions[name]++
			out := mustAppend(t, log, set(name, `"again"`))
			if !cut.fired() {
				t.Fatal("the connection was not cut")
			}
			if events := checkLog(t, log); int64(len(events)) != want || out.Position != want || out.Changes[0].Version != versions[name] {
				t.Errorf("%d events, outcome %+v; want %d events, that position and version %d", len(events), out, want, versions[name])
			}
		})
	}
}

// cutter is a proxy before Postgres that breaks the connection at a chosen
// Sync message: with it every pipeline of a client ends.
type cutter struct {
	url    string
	target *pgx.ConnConfig

	mu        sync.Mutex
	countdown int // Syncs until the cut; 0 is not armed
	forward   bool
	done      bool
}

func newCutter(t *testing.T, direct string) *cutter {
	t.Helper()
	target, err := pgx.ParseConfig(direct)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(target.User, target.Password),
		Host: listener.Addr().String(), Path: "/" + target.Database, RawQuery: "sslmode=disable",
	}
	c := &cutter{url: u.String(), target: target}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go c.serve(client)
		}
	}()
	return c
}

func (c *cutter) arm(syncs int, forward bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.countdown, c.forward = syncs, forward
}

func (c *cutter) fired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

// sync is called at each Sync and says whether to cut here.
func (c *cutter) sync() (cut, forward bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.countdown == 0 {
		return false, false
	}
	c.countdown--
	c.done = c.countdown == 0
	return c.done, c.forward
}

func (c *cutter) serve(client net.Conn) {
	defer client.Close()
	network, address := "tcp", net.JoinHostPort(c.target.Host, strconv.Itoa(int(c.target.Port)))
	if filepath.IsAbs(c.target.Host) {
		network, address = "unix", filepath.Join(c.target.Host, ".s.PGSQL."+strconv.Itoa(int(c.target.Port)))
	}
	server, err := net.Dial(network, address)
	if err != nil {
		return
	}
	defer server.Close()
	var withhold atomic.Bool
	answers := make(chan struct{}) // closed when no more answers reach the client
	go func() {
		defer client.Close()
		defer close(answers)
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil || withhold.Load() {
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	in := bufio.NewReader(client)
	for first := true; ; first = false { // the startup message has no type byte
		message, err := readMessage(in, first)
		if err != nil {
			return
		}
		if !first && message[0] == 'S' {
			if cut, forward := c.sync(); cut {
				if forward {
					withhold.Store(true)
					_, _ = server.Write(message)
					<-answers // the server has answered, so it has committed
				}
				return
			}
		}
		if _, err := server.Write(message); err != nil {
			return
		}
	}
}

func readMessage(in *bufio.Reader, startup bool) ([]byte, error) {
	header := 5
	if startup {
		header = 4
	}
	head := make([]byte, header)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, err
	}
	message := make([]byte, header-4+int(binary.BigEndian.Uint32(head[header-4:])))
	_, err := io.ReadFull(in, message[copy(message, head):])
	return message, err
}

// A server that went away while nothing was under way is not one that may have
// committed: the answer comes at once, and the next command has a new connection.
func TestConnectionLostBetweenCommands(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	mine, err := pgxpool.New(t.Context(), pool.Config().ConnString()+"&pool_max_conns=1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mine.Close)
	log := open(t, mine)
	remembering(t, log)
	if _, err := pool.Exec(t.Context(), `select pg_terminate_backend(pid, 5000) from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid()`); err != nil {
		t.Fatal(err)
	}
	_, err = log.Append(t.Context(), set("warm", `"again"`))
	if code := config.CodeOf(err); err != nil && code != config.Unavailable {
		t.Errorf("the first answer is %v", err)
	}
	out := mustAppend(t, log, set("warm", `"once more"`))
	if events := checkLog(t, log); int64(len(events)) != out.Position || (err == nil) != (len(events) == 8) {
		t.Errorf("%d events after %v", len(events), err)
	}
}
