//go:build crash && linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/testkit"
)

// health is what /v1/health says, in one line.
func (c *cluster) health(t *testing.T) string {
	t.Helper()
	resp, err := probe.Get(c.gateway.url + "/v1/health")
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return resp.Status + " " + string(bytes.TrimSpace(body))
}

func (c *cluster) set(t *testing.T, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := c.api.Namespace(v2Namespace).Set(t.Context(), fmt.Sprint("name", i%7), fmt.Sprint("the value of write ", i)); err != nil {
			t.Fatal(err)
		}
	}
}

// Postgres goes back to a backup that is older than the feed. The relay halts and
// says so, and never publishes over what is there.
func TestCrashLogRestored(t *testing.T) {
	t.Parallel()
	c := newCluster(t, size{commands: 1, projectors: 1, queries: 1})
	data := filepath.Join(c.postgresDir, "data")
	stop := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := c.postgres.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	copyTo := func(from, to string) {
		if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	c.set(t, 0, 20)
	stop()
	copyTo(data, data+".backup")
	c.startPostgres(t)
	c.set(t, 20, 40)
	if err := c.awaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	copyTo(data+".backup", data)
	c.startPostgres(t)

	testkit.Eventually(t, func() error {
		if says := c.health(t); !strings.HasPrefix(says, "503") || !strings.Contains(says, "the relay has halted: the feed is ahead of the log (40, the log ends at 20)") {
			return fmt.Errorf("/v1/health says %s", says)
		}
		return nil
	})
	t.Logf("the relay said: %q", firstOf(c.commands[0].logged(t, "relay halted")))
	before, err := feed.ReadTail(t.Context(), c.js)
	if err != nil {
		t.Fatal(err)
	}
	c.set(t, 100, 125) // past where the feed ends
	halts := len(c.commands[0].logged(t, "relay halted"))
	if err := c.commandAgain(t); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() error { // it has looked again
		if len(c.commands[0].logged(t, "relay halted")) == halts {
			return fmt.Errorf("%d times halted", halts)
		}
		return nil
	})
	after, err := feed.ReadTail(t.Context(), c.js)
	if err != nil || after != before {
		t.Errorf("the feed ended with %+v, and now with %+v, %v", before, after, err)
	}
	if says := c.health(t); !strings.Contains(says, "the relay has halted: message 40 of the feed is not event 40 of the log") {
		t.Errorf("/v1/health says %s", says)
	}

	c.recover(t)
	if err := c.awaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	on := target{api: c.gateway.url, database: c.direct, nats: "nats://" + c.natsAddress, queries: []string{c.queries[0].url()}}
	if events := checkSystem(t, on, nil); len(events) != 45 {
		t.Errorf("%d events after it was recovered, want 45", len(events))
	}
}

// commandAgain starts the command service again, so that its relay looks anew.
func (c *cluster) commandAgain(t *testing.T) error {
	t.Helper()
	c.commands[0].signal(syscall.SIGKILL)
	c.start(t, c.commands[0])
	var err error
	testkit.Eventually(t, func() error {
		err = c.commands[0].ready()
		return err
	})
	return err
}

// The disk changes a message of the feed while NATS is stopped. Nothing wrong is
// ever applied, and recovering makes it whole.
func TestCrashFeedDamaged(t *testing.T) {
	t.Parallel()
	for how, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGTERM} {
		t.Run("NATS was "+how, func(t *testing.T) {
			t.Parallel()
			feedDamaged(t, signal)
		})
	}
}

func feedDamaged(t *testing.T, end syscall.Signal) {
	c := newCluster(t, size{commands: 1, projectors: 1, queries: 1})
	s := &survival{cluster: c, t: t}
	c.set(t, 0, 60)
	if err := c.awaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.nats.signal(end)
	if !c.nats.diedIn(normalWithin) {
		t.Fatal("NATS does not stop")
	}
	c.damage(t, "the value of write 20")
	c.start(t, c.nats)
	var stream jetstream.Stream
	testkit.Eventually(t, func() (err error) {
		stream, err = c.js.Stream(t.Context(), feed.Stream)
		return err
	})
	state := stream.CachedInfo().State
	t.Logf("NATS has %d messages, %d to %d, %d deleted", state.Msgs, state.FirstSeq, state.LastSeq, state.NumDeleted)
	if _, err := stream.GetMsg(t.Context(), 21); err != nil {
		t.Logf("message 21: %v", err)
	}

	c.set(t, 60, 70) // what is written goes on to be shown
	if err := c.awaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.api.StartRebuild(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	ended := func() (client.Rebuild, error) {
		now, err := c.api.Rebuild(t.Context())
		if err == nil && !now.Ended() {
			err = fmt.Errorf("the rebuild is %s: %s", now.State, now.Detail)
		}
		return now, err
	}
	on := target{api: c.gateway.url, database: c.direct, nats: "nats://" + c.natsAddress, queries: []string{c.queries[0].url()}}
	whole := len(overHTTP(t, on, nil)) == 0
	if now, err := ended(); whole {
		err = s.until("the rebuild ends", func() bool {
			now, err = ended()
			return err == nil
		})
		if err != nil || now.State != "done" {
			t.Fatalf("the feed is whole, and the rebuild %s %s: %v", now.State, now.Detail, err)
		}
		t.Log("the feed was cut off before the message, and filled up again")
	} else {
		t.Logf("configctl check says: %v", overHTTP(t, on, nil))
		testkit.Eventually(t, func() error {
			now, err := ended()
			if err == nil && (now.State != "failed" || !strings.Contains(now.Detail, "message 21 of the feed is missing")) {
				err = fmt.Errorf("the rebuild %s: %s", now.State, now.Detail)
			}
			return err
		})
		c.recover(t)
	}
	if err := c.awaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if events := checkSystem(t, on, nil); len(events) != 70 {
		t.Errorf("%d events, want 70", len(events))
	}
}

// recover is what configctl recover does.
func (c *cluster) recover(t *testing.T) {
	t.Helper()
	head, err := c.api.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := c.api.Recover(t.Context(), head.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.api.StartRebuild(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.api.AwaitRebuild(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, q := range c.queries { // each has heard of it
		reader, err := client.New(q.url())
		if err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, func() error {
			reader.Echo(config.Token{Epoch: fresh.Epoch, Position: fresh.Position})
			_, err := reader.Namespace("default").ListPage(t.Context(), "", 1, "")
			return err
		})
	}
}

// damage changes one bit of a message in NATS's files.
func (c *cluster) damage(t *testing.T, text string) {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(c.natsDir, "jetstream", "$G", "streams", feed.Stream, "msgs", "*.blk"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range blocks {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(content, []byte(text)); at >= 0 {
			content[at] ^= 1
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%q is not in the files of NATS", text)
}
