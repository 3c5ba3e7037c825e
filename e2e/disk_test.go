//go:build crash && linux

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/testkit"
)

// smallDisk is a filesystem of its own.
func smallDisk(t *testing.T, megabytes int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small filesystem")
	}
	dir, err := os.MkdirTemp("", "config-api-disk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0711", megabytes)); err != nil {
		t.Skipf("no small filesystem can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill leaves so many bytes on a disk, and returns how to make space again.
func fill(t *testing.T, disk string, left int64) (empty func()) {
	t.Helper()
	var stat syscall.Statfs_t
	if err := syscall.Statfs(disk, &stat); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, max(0, int64(stat.Bavail)*stat.Bsize-left)), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
}

// bigWrites are values that no compression makes small.
type bigWrites struct {
	*load
	api *client.Client
}

func newBigWrites(t *testing.T, c *cluster) *bigWrites {
	t.Helper()
	l := c.load(time.Second).start(t, 0, 0, 0)
	// Each is sent once, so that the answer to it is seen.
	http := &http.Client{Transport: withRequestID{l.transport}, Timeout: answerWithin}
	api, err := client.New(c.gateway.url, client.WithAttempts(1), client.WithHTTPClient(http))
	if err != nil {
		t.Fatal(err)
	}
	return &bigWrites{l, api}
}

func (b *bigWrites) write(ctx context.Context, t *testing.T) (*request, error) {
	t.Helper()
	random := make([]byte, 150<<10)
	_, _ = rand.Read(random)
	n := len(b.attempts)
	value := change{name: fmt.Sprint("big-", n%5), value: base64.StdEncoding.EncodeToString(random)}
	r := &request{writer: "big", order: n, id: fmt.Sprint("big-", n), namespace: v2Namespace, changes: []change{value}}
	err := b.writeV2(context.WithValue(ctx, requestIDKey{}, r.id), b.api, r)
	b.attempts = append(b.attempts, r)
	return r, err
}

// A full disk under Postgres: writes are refused with a clear answer, nothing that
// was acknowledged is lost, and with space it goes on.
func TestCrashFullDiskOfPostgres(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 160)
	c := newCluster(t, size{commands: 1, projectors: 1, queries: 1, postgresDir: filepath.Join(disk, "postgres")})
	b := newBigWrites(t, c)
	empty := fill(t, disk, 2<<20)
	refusals := 0
	for deadline := time.Now().Add(normalWithin); refusals < 5; {
		r, err := b.write(t.Context(), t)
		var answered *client.Error
		switch {
		case r.outcome == acknowledged:
			refusals = 0
		case errors.As(err, &answered) && errors.Is(err, client.ErrUnavailable):
			if refusals++; refusals == 1 {
				t.Logf("answered %d: %s", answered.Status, answered.Detail)
			}
		default:
			t.Errorf("a write to a full disk: %v", err)
		}
		if time.Now().After(deadline) {
			t.Fatal("the disk does not get full")
		}
	}
	t.Logf("%d writes acknowledged before the disk was full", b.count(acknowledged))
	if _, err := b.api.Namespace(v2Namespace).Get(t.Context(), "big-0"); err != nil {
		t.Errorf("a read while the disk is full: %v", err)
	}
	t.Logf("the command service said: %q", firstOf(c.commands[0].logged(t, "not available")))
	empty()
	select {
	case <-c.postgres.Done():
		t.Log("Postgres has ended, and is started again")
		c.startPostgres(t)
	default:
	}
	if err := c.awaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := b.write(t.Context(), t); r.outcome != acknowledged {
		t.Errorf("a write after space was made: %v", err)
	}
	checkCluster(t, c, b.load, nil)
}

// A full disk under NATS: writes are accepted, the feed stands still, and with
// space it goes on; if the server has switched JetStream off, after a restart.
func TestCrashFullDiskOfNATS(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 300)
	c := newCluster(t, size{commands: 1, projectors: 1, queries: 1, natsDir: filepath.Join(disk, "nats")})
	b := newBigWrites(t, c)
	empty := fill(t, disk, 2<<20)
	behind := func() int64 {
		var head int64
		if err := c.pool.QueryRow(t.Context(), `select position from eventstore.log_head`).Scan(&head); err != nil {
			t.Fatal(err)
		}
		last, err := feed.LastPosition(t.Context(), c.js)
		if err != nil {
			return head // the server does not say
		}
		return head - last
	}
	for deadline := time.Now().Add(normalWithin); len(b.attempts) < 12 || behind() < 5; {
		if r, err := b.write(t.Context(), t); r.outcome != acknowledged {
			t.Errorf("a write while NATS has no space: %v", err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %d writes the feed is %d behind", len(b.attempts), behind())
		}
	}
	t.Logf("the relay said: %q", firstOf(c.commands[0].logged(t, "relay interrupted")))
	t.Logf("NATS said: %q", firstOf(c.nats.logged(t, "[ERR]")))
	testkit.Eventually(t, func() error {
		if says := c.health(t); !strings.HasPrefix(says, "503") || !strings.Contains(says, "what was written is not relayed") {
			return fmt.Errorf("/v1/health says %s", says)
		}
		return nil
	})
	t.Logf("/v1/health says: %s", c.health(t))
	empty()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(5 * time.Second); behind() > 0 && time.Now().Before(deadline); {
		<-poll.C
	}
	if behind() > 0 {
		t.Log("NATS does not go on by itself, and is started again")
		c.nats.signal(syscall.SIGKILL)
		c.start(t, c.nats)
	}
	checkCluster(t, c, b.load, nil)
}

func firstOf(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[0]
}
