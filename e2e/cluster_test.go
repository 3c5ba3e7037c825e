//go:build crash && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/localpg"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/testkit"
)

const (
	clusterDatabase = "config_api_eventstore"
	// relayLock and projectorLock are the services' own.
	relayLock, projectorLock = 7_263_001, 7_263_101
)

// cluster is all of the system as processes of their own: Postgres, NATS, several
// of each service, and a gateway. Between each service and each of the two
// servers is a link of its own.
type cluster struct {
	dir                           string
	postgresDir, natsDir          string
	postgres                      *localpg.Server
	direct                        string // the database's URL, without a link
	nats                          *process
	natsAddress                   string
	commands, projectors, queries []*process
	toPostgres, toNATS            map[*process]*link
	gateway                       *gateway
	pool                          *pgxpool.Pool
	js                            jetstream.JetStream
	api                           *client.Client
}

// size is how many of each service there are, and where the two servers keep
// their data if not in the cluster's own directory.
type size struct {
	commands, projectors, queries int
	postgresDir, natsDir          string
}

func newCluster(t *testing.T, n size) *cluster {
	t.Helper()
	// Not testing's directory: root's Postgres could not get through it.
	dir, err := os.MkdirTemp("", "config-api-crash-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{dir: dir, postgresDir: n.postgresDir, natsDir: n.natsDir, toPostgres: map[*process]*link{}, toNATS: map[*process]*link{}}
	if c.postgresDir == "" {
		c.postgresDir = filepath.Join(dir, "postgres")
	}
	if c.natsDir == "" {
		c.natsDir = filepath.Join(dir, "nats")
	}
	t.Cleanup(func() { c.remove(t) })
	c.startPostgres(t)
	if err := c.postgres.EnsureDatabase(t.Context(), clusterDatabase); err != nil {
		t.Fatal(err)
	}
	c.direct = c.postgres.URL(clusterDatabase)
	if c.pool, err = pg.Open(t.Context(), c.direct, "crash test"); err != nil {
		t.Fatal(err)
	}
	c.newNATS(t)
	for i := range n.commands {
		c.commands = append(c.commands, c.newService(t, "command", i))
	}
	for i := range n.projectors {
		c.projectors = append(c.projectors, c.newService(t, "projector", i))
	}
	for i := range n.queries {
		c.queries = append(c.queries, c.newService(t, "query", i))
	}
	for _, p := range append([]*process{c.nats}, c.services()...) {
		c.start(t, p)
	}
	c.gateway = newGateway(t, c.commands, c.projectors, c.queries)
	if c.api, err = client.New(c.gateway.url, client.WithActor("the crash test")); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() error { return c.allReady() })
	testkit.Eventually(t, func() error { // the gateway has seen it, too
		_, err := c.api.Head(t.Context())
		return err
	})
	return c
}

func (c *cluster) remove(t *testing.T) {
	for _, p := range append(c.services(), c.nats) {
		if p != nil {
			p.signal(syscall.SIGCONT)
			p.signal(syscall.SIGKILL)
		}
	}
	if c.pool != nil {
		c.pool.Close()
	}
	if c.postgres != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		_ = c.postgres.Stop(ctx)
		cancel()
	}
	if t.Failed() || *crashKeep {
		t.Logf("the data and the logs of the run are in %s", c.dir)
		return
	}
	_ = os.RemoveAll(c.dir)
}

func (c *cluster) services() []*process { return slices.Concat(c.commands, c.projectors, c.queries) }

func (c *cluster) start(t *testing.T, p *process) {
	t.Helper()
	p.disarm()
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) startPostgres(t *testing.T) {
	t.Helper()
	server, err := localpg.Start(t.Context(), localpg.Options{Dir: c.postgresDir, Durable: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c.postgres = server
}

// killPostgres ends all of its processes at once, as the loss of a machine would
// but for what the disk had not got yet.
func (c *cluster) killPostgres(t *testing.T) {
	t.Helper()
	pid := c.postgresPID(t)
	_ = syscall.Kill(pid, syscall.SIGSTOP) // it must not see its children die
	for _, child := range childrenOf(pid) {
		_ = syscall.Kill(child, syscall.SIGKILL)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	<-c.postgres.Done()
}

func (c *cluster) postgresPID(t *testing.T) int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(c.postgresDir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func childrenOf(parent int) []int {
	var children []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		stat, err := os.ReadFile(file) // pid (name) state ppid …
		if err != nil {
			continue
		}
		after := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && after[1] == strconv.Itoa(parent) {
			children = append(children, pid)
		}
	}
	return children
}

func (c *cluster) newNATS(t *testing.T) {
	t.Helper()
	c.natsAddress = freeAddress(t)
	host, port, _ := net.SplitHostPort(c.natsAddress)
	file := filepath.Join(c.dir, "nats.conf")
	conf := fmt.Sprintf("host: %s\nport: %s\nmax_payload: 32MB\nmax_pending: 128MB\njetstream { store_dir: %q, sync_interval: always }\n", host, port, c.natsDir)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	c.nats = &process{name: "nats", program: "../bin/crash/nats-server", args: []string{"--config", file}, dir: c.dir}
	nc, err := nats.Connect("nats://"+c.natsAddress, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if c.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(2*time.Second)); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) newService(t *testing.T, service string, i int) *process {
	t.Helper()
	config, err := pgx.ParseConfig(c.direct)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{name: fmt.Sprintf("%s-%d", service, i+1), program: "../bin/crash/" + service, address: freeAddress(t), dir: c.dir}
	database := newLink(t, true, func() (net.Conn, error) {
		if !filepath.IsAbs(config.Host) {
			return net.Dial("tcp", net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))))
		}
		return net.Dial("unix", filepath.Join(config.Host, ".s.PGSQL."+strconv.Itoa(int(config.Port))))
	})
	events := newLink(t, false, func() (net.Conn, error) { return net.Dial("tcp", c.natsAddress) })
	c.toPostgres[p], c.toNATS[p] = database, events
	u := url.URL{Scheme: "postgres", User: url.UserPassword(config.User, config.Password), Host: database.address, Path: "/" + clusterDatabase}
	u.RawQuery = url.Values{"sslmode": {"disable"}, "application_name": {p.name}}.Encode()
	p.args = []string{"--listen", p.address, "--nats-url", "nats://" + events.address}
	if service == "command" {
		p.args = append(p.args, "--nats-replicas", "1")
	}
	p.env = []string{"DATABASE_URL=" + u.String()}
	return p
}

// holder returns the process that has an advisory lock, nil if none has.
func (c *cluster) holder(ctx context.Context, lock int) *process {
	var name string
	err := c.pool.QueryRow(ctx, `select a.application_name from pg_locks l join pg_stat_activity a using (pid)
		where l.locktype = 'advisory' and l.objid = $1 and l.granted`, lock).Scan(&name)
	if err != nil {
		return nil
	}
	for _, p := range c.services() {
		if p.name == name {
			return p
		}
	}
	return nil
}

// load is clients of the gateway, who have not begun yet.
func (c *cluster) load(pace time.Duration) *load {
	return &load{url: c.gateway.url, pace: pace, tries: 8}
}

func (c *cluster) allReady() error {
	var errs []error
	for _, p := range c.services() {
		errs = append(errs, p.ready())
	}
	return errors.Join(errs...)
}

// caughtUp returns why something has not reached the log's end, as it was at the
// first call with the same position; 0 asks for it.
func (c *cluster) caughtUp(ctx context.Context, head *int64) error {
	if *head == 0 {
		if err := c.pool.QueryRow(ctx, `select position from eventstore.log_head`).Scan(head); err != nil {
			return fmt.Errorf("the log: %w", err)
		}
	}
	last, err := feed.LastPosition(ctx, c.js)
	if err == nil && last < *head {
		err = fmt.Errorf("it is at %d, the log at %d", last, *head)
	}
	if err != nil {
		return fmt.Errorf("the feed: %w", err)
	}
	var applied int64
	err = c.pool.QueryRow(ctx, `select c.position from readmodel.checkpoint c join readmodel.active using (generation)`).Scan(&applied)
	if err == nil && applied < *head {
		err = fmt.Errorf("they are at %d, the log at %d", applied, *head)
	}
	if err != nil {
		return fmt.Errorf("the read tables: %w", err)
	}
	for _, q := range c.queries {
		resp, err := probe.Get(q.url() + "/v2/namespaces/default/configs/none")
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if at := positionOf(resp).Position; resp.StatusCode != http.StatusNotFound || at < *head {
			return fmt.Errorf("%s is at %d, the log at %d: %s", q.name, at, *head, resp.Status)
		}
	}
	return nil
}

// awaitNormal waits until everything is ready and nothing is behind.
func (c *cluster) awaitNormal(ctx context.Context) error {
	var head int64
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(normalWithin); ; {
		err := c.allReady()
		if err == nil {
			err = c.caughtUp(ctx, &head)
		}
		if err == nil {
			return nil
		}
		for _, p := range append(c.services(), c.nats) {
			if p.endedByItself() {
				return fmt.Errorf("%s ended by itself: see %s", p.name, p.logFile())
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not back to normal after %v: %w", normalWithin, err)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
