package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/stats"
	"github.com/config-api/config-api/shared/testkit"
)

// feedClient is a client of the feed that is no part of the service.
type feedClient struct {
	nc *nats.Conn
	js jetstream.JetStream
}

func client(t *testing.T, server *testkit.NATSServer) feedClient {
	t.Helper()
	nc := server.Conn(t)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Second)) // a server that stops answers nothing
	if err != nil {
		t.Fatal(err)
	}
	return feedClient{nc, js}
}

// wantFeed waits until the feed has what the log has, and fails the test unless
// message p is event p, byte for byte, for every p.
func (c feedClient) wantFeed(t *testing.T, s system) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var messages jetstream.MessagesContext
	testkit.Eventually(t, func() error {
		consumer, err := c.js.OrderedConsumer(ctx, feed.Stream, jetstream.OrderedConsumerConfig{})
		if err != nil {
			return err // there is no stream yet, or no server
		}
		messages, err = consumer.Messages()
		return err
	})
	defer messages.Stop()
	head, err := s.log.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range s.events(t) {
		got, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("message %d: %v", event.Position, err)
		}
		wantMessage(t, got, event, head.LogID)
	}
	if last, err := feed.LastPosition(ctx, c.js); err != nil || last != head.Position {
		t.Errorf("the feed ends at %d, %v; the log at %d", last, err, head.Position)
	}
}

func wantMessage(t *testing.T, got jetstream.Msg, event config.Event, log config.LogID) {
	t.Helper()
	meta, err := got.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	body, same := bytes.CutSuffix(got.Data(), slices.Concat([]byte(`"data":`), event.Data, []byte("}\n")))
	if !same || int64(meta.Sequence.Stream) != event.Position {
		t.Fatalf("message %d is %.300s, want event %d with data %.300s", meta.Sequence.Stream, got.Data(), event.Position, event.Data)
	}
	event.Data = []byte(`0`) // it can be large, and has been seen
	decoded, decodedLog, err := feed.Decode(append(slices.Clone(body), `"data":0}`...))
	if err != nil || decodedLog != log || !reflect.DeepEqual(decoded, event) {
		t.Fatalf("message %d is of log %s and reads as %+v (%v), want %s and %+v", event.Position, decodedLog, decoded, err, log, event)
	}
	want, err := feed.Encode(&event, log)
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject() != want.Subject {
		t.Errorf("message %d has subject %s, want %s", event.Position, got.Subject(), want.Subject)
	}
	for name := range want.Header {
		if got.Headers().Get(name) != want.Header.Get(name) {
			t.Errorf("message %d: %s = %q, want %q", event.Position, name, got.Headers().Get(name), want.Header.Get(name))
		}
	}
}

// replace deletes the stream and makes it anew with other messages. A relay
// that works may be faster to fill it, which is as good.
func (c feedClient) replace(t *testing.T, epoch string, events []config.Event) {
	t.Helper()
	if err := c.js.DeleteStream(t.Context(), feed.Stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatal(err)
	}
	// A server that is still deleting, or whom the relay asks too, may refuse.
	testkit.Eventually(t, func() error { return feed.EnsureStream(t.Context(), c.js, 1) })
	if len(events) == 0 {
		return
	}
	if err := feed.Publish(t.Context(), c.js, config.LogID{Epoch: epoch, Origin: epoch}, events); err != nil && !errors.Is(err, feed.ErrWrongSequence) {
		t.Fatal(err)
	}
}

func TestTheFeedIsTheLog(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	s := start(t, testkit.DatabaseURL(t, eventlog.Schema), server.URL)
	for _, value := range []string{`null`, `1e400`, `"<b>&amp;</b> \u2028 ü 😀 \/"`, "\"\u2028\"", `{"b":[1,2.50],"a":{}}`} {
		s.append(t, set(value, "values.of-every_kind"))
	}
	s.append(t, set(`1`, numbered(config.MaxChanges)...))
	s.append(t, eventlog.Command{Set: config.ChangeSet{
		Namespace: "ns", Actor: "ann", Reason: "<why>", CorrelationID: "c", RequestID: "r",
		Changes: []config.Change{
			{Op: config.Delete, Name: "n1"},
			{Op: config.SetSchema, Name: config.SchemaStream("a.*"), Value: config.Value(`true`)},
		},
	}})
	client(t, server).wantFeed(t, s)
}

// What a lone service has appended is published from memory: each append is in the
// feed before the next, and the log is read only now and then.
func TestTheRelayDoesNotReadBack(t *testing.T) {
	t.Parallel()
	s := start(t, testkit.DatabaseURL(t, eventlog.Schema), testkit.NATS(t).URL)
	published := func(position int64) {
		t.Helper()
		testkit.Eventually(t, func() error {
			if at := s.relay.Status().Published; at < position {
				return fmt.Errorf("event %d is not published, %d is", position, at)
			}
			return nil
		})
	}
	reads := func() (n uint64) {
		s.log.Stats().Queries.Each(func(name string, h *stats.Histogram) {
			if name == "read" {
				n = h.Read().Count
			}
		})
		return n
	}
	for range 5 {
		published(s.append(t, set(`1`, "a")).Position)
	}
	before, began := reads(), time.Now()
	const appends = 100
	for range appends {
		published(s.append(t, set(`1`, "a")).Position)
	}
	polls := uint64(time.Since(began) / relayPoll)
	if n := reads() - before; n > appends/4+polls {
		t.Errorf("the log was read %d times for %d appends and at most %d polls", n, appends, polls)
	}
}

// What happens to the stream while the relay works is mended without anybody's
// help, and what was accepted meanwhile is published behind it.
func TestTheFeedIsMended(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	s := start(t, testkit.DatabaseURL(t, eventlog.Schema), server.URL)
	c := client(t, server)
	for range 4 {
		s.append(t, set(`1`, "a", "b"))
	}
	c.wantFeed(t, s)
	events := s.events(t)
	epoch := s.append(t, set(`2`, "a")).Epoch
	for _, test := range []struct {
		name   string
		happen func(*testing.T)
	}{
		{"the stream is deleted", func(t *testing.T) {
			if err := c.js.DeleteStream(t.Context(), feed.Stream); err != nil {
				t.Fatal(err)
			}
		}},
		{"the stream lost everything", func(t *testing.T) { c.replace(t, epoch, nil) }},
		{"the stream lost its tail", func(t *testing.T) { c.replace(t, epoch, events[:4]) }},
		{"the stream lost half of a change set", func(t *testing.T) { c.replace(t, epoch, events[:5]) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.wantFeed(t, s)
			test.happen(t)
			s.append(t, set(`3`, "a", "b"))
			c.wantFeed(t, s)
		})
	}
}

// A stream that was replaced by one of the same length while the relay works is
// seen before anything is published over it.
func TestTheFeedIsReplaced(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	s := start(t, testkit.DatabaseURL(t, eventlog.Schema), server.URL)
	c := client(t, server)
	s.append(t, set(`1`, "a", "b", "c"))
	c.wantFeed(t, s)
	events, another := s.events(t), "0191f3a2-0000-7000-8000-000000000000"
	testkit.Eventually(t, func() error { // the relay may fill it first
		c.replace(t, another, events)
		tail, err := feed.ReadTail(t.Context(), c.js)
		if err == nil && tail.Epoch != another {
			err = errors.New("the relay was faster")
		}
		return err
	})
	testkit.Eventually(t, func() error {
		if halted := s.relay.Status().Halted; !strings.Contains(halted, "the feed is of another log") {
			return fmt.Errorf("halted: %q", halted)
		}
		return nil
	})
}

// A write needs no NATS: it is accepted while the server is away, and published
// when it is back. Meanwhile the service that accepts it tells how much is not
// published, also if it is another that led.
func TestNATSAway(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	server := testkit.NATS(t)
	database := testkit.DatabaseURL(t, eventlog.Schema)
	s := start(t, database, server.URL)
	c := client(t, server)
	s.append(t, set(`1`, "a"))
	c.wantFeed(t, s)
	s.wantMetrics(t, `relay_position{service="command"} 1`) // the relay has the server's word for it, too
	standby := start(t, database, server.URL)
	standby.wantMetrics(t, `relay_lag_events{service="command"} 0`, `relay_position{service="command"} 1`, `relay_leader{service="command"} 0`)
	server.Stop()
	for i := range 3 {
		s.write(t, "PUT", "/v2/namespaces/ns/configs/a", `{"value":`+strconv.Itoa(i)+`}`)
	}
	s.wantMetrics(t, `relay_lag_events{service="command"} 3`, `relay_position{service="command"} 1`, `relay_leader{service="command"} 0`, `nats_connected{service="command"} 0`)
	for range 2 {
		standby.write(t, "PUT", "/v2/namespaces/ns/configs/a", `{"value":"by another"}`)
	}
	standby.wantMetrics(t, `relay_lag_events{service="command"} 5`, `relay_position{service="command"} 1`, `relay_leader{service="command"} 0`, `nats_connected{service="command"} 0`)
	server.Restart(t)
	c.wantFeed(t, s)
	for _, s := range []system{s, standby} {
		s.wantMetrics(t, `relay_lag_events{service="command"} 0`, `relay_position{service="command"} 6`, `nats_connected{service="command"} 1`)
	}
}

func TestWhoTellsOfLag(t *testing.T) {
	t.Parallel()
	s := start(t, testkit.DatabaseURL(t, eventlog.Schema), noNATS)
	s.append(t, set(`1`, "a", "b", "c"))
	for name, test := range map[string]struct {
		status relayStatus
		want   int64
	}{
		"leads":                             {relayStatus{Leader: true, Placed: true, Published: 1}, 2},
		"stands by, and looked a while ago": {relayStatus{StandsBy: true, Placed: true, Published: 1}, 0},
		"can't look any more":               {relayStatus{Placed: true, Published: 1}, 2},
		"has never looked":                  {relayStatus{}, 0},
		"another appended":                  {relayStatus{Leader: true, Placed: true, Published: 9}, 0},
	} {
		r := relay{log: s.log, status: test.status}
		if got := r.lag(); got != test.want {
			t.Errorf("one that %s tells of %d events, want %d", name, got, test.want)
		}
	}
}

// wantMetrics waits until the metrics have the lines.
func (s system) wantMetrics(t *testing.T, lines ...string) {
	t.Helper()
	testkit.Eventually(t, func() error {
		metrics := s.Do(t, "GET", "/metrics", "").Body
		for _, line := range lines {
			if !strings.Contains(metrics, "\nconfig_api_"+line+"\n") {
				return fmt.Errorf("the metrics lack %s", line)
			}
		}
		return nil
	})
}

// Two services on one database relay in turns. The lock is for economy only:
// relays that do not ask for it, as one that slept through the loss of it, can
// publish nothing twice and nothing out of order.
func TestRelaysRace(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	server := testkit.NATS(t)
	database := testkit.DatabaseURL(t, eventlog.Schema)
	both := []system{start(t, database, server.URL), start(t, database, server.URL)}
	writing, written := context.WithCancel(t.Context())
	var zombies, writers sync.WaitGroup
	for _, s := range both {
		zombies.Go(func() {
			for writing.Err() == nil {
				at, log, err := s.relay.findPlace(t.Context())
				if err == nil {
					_, err = s.relay.publish(t.Context(), &log, at)
				}
				if err != nil && !errors.Is(err, feed.ErrWrongSequence) {
					t.Errorf("a relay without the lock: %v", err)
				}
			}
		})
		for w := range 4 {
			writers.Go(func() {
				for i := range 20 {
					if _, err := s.log.Append(t.Context(), set(strconv.Itoa(i), "shared", "own"+strconv.Itoa(w))); err != nil {
						t.Errorf("append: %v", err)
					}
				}
			})
		}
	}
	writers.Wait()
	written()
	zombies.Wait()
	c := client(t, server)
	c.wantFeed(t, both[0])

	leads := func(s system) bool { return s.relay.Status().Leader }
	testkit.Eventually(t, func() error {
		if leads(both[0]) == leads(both[1]) {
			return fmt.Errorf("leaders: %v and %v", leads(both[0]), leads(both[1]))
		}
		return nil
	})
	leader, standby := both[0], both[1]
	if leads(standby) {
		leader, standby = standby, leader
	}
	leader.Stop()
	standby.append(t, set(`"after the leader's end"`, "shared"))
	c.wantFeed(t, standby)
}

// What is in the feed and not in the log is for a person to look at: the relay
// publishes nothing over it, says why, and goes on by itself once it is mended.
func TestTheRelayHalts(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	server := testkit.NATS(t)
	database := testkit.DatabaseURL(t, eventlog.Schema)
	c := client(t, server)
	first := start(t, database, server.URL)
	epoch := first.append(t, set(`1`, "a", "b", "c")).Epoch
	c.wantFeed(t, first)
	first.Stop()

	for name, test := range map[string]struct {
		epoch string
		spoil func(events []config.Event) []config.Event
		why   string
	}{
		"the feed is ahead of the log": {epoch, func(events []config.Event) []config.Event {
			extra := events[len(events)-1]
			extra.Position++
			extra.Version++
			extra.Commit++
			return append(events, extra)
		}, "the feed is ahead of the log"},
		"the feed is of another log": {
			"0191f3a2-0000-7000-8000-000000000000", func(events []config.Event) []config.Event { return events }, "the feed is of another log",
		},
		"the last message is another event": {epoch, func(events []config.Event) []config.Event {
			events[len(events)-1].Hash[0]++
			return events
		}, "is not event"},
	} {
		t.Run(name, func(t *testing.T) {
			reader := start(t, database, noNATS)
			log := reader.events(t)
			events := test.spoil(slices.Clone(log))
			reader.Stop()
			c.replace(t, test.epoch, events)
			spoiled, err := feed.ReadTail(t.Context(), c.js)
			if err != nil || spoiled.Position != events[len(events)-1].Position {
				t.Fatalf("the spoiled feed ends with %+v, %v", spoiled, err)
			}

			s, standby := start(t, database, server.URL), start(t, database, server.URL)
			halted := func() error {
				if _, err := feed.RequestHead(t.Context(), c.nc); err == nil || !strings.Contains(err.Error(), test.why) {
					return fmt.Errorf("the head is answered with error %w, want why the relay has halted: %s", err, test.why)
				}
				return nil
			}
			testkit.Eventually(t, halted)
			for _, s := range []system{s, standby} {
				s.wantMetrics(t, `relay_halted{service="command"} 1`, `relay_leader{service="command"} 0`)
			}
			if test.epoch != epoch || spoiled.Position <= int64(len(log)) {
				s.write(t, "PUT", "/v2/namespaces/ns/configs/a", `{"value":"accepted all the same"}`)
			}
			if err := halted(); err != nil {
				t.Error(err)
			}
			if tail, err := feed.ReadTail(t.Context(), c.js); err != nil || tail != spoiled {
				t.Errorf("the feed ends with %+v, %v; it was %+v", tail, err, spoiled)
			}

			if err := c.js.DeleteStream(t.Context(), feed.Stream); err != nil {
				t.Fatal(err)
			}
			c.wantFeed(t, s)
			testkit.Eventually(t, func() error {
				head, err := feed.RequestHead(t.Context(), c.nc)
				if err == nil && head.Epoch != epoch {
					err = fmt.Errorf("head %+v, want epoch %s", head, epoch)
				}
				return err
			})
			for _, s := range []system{s, standby} { // whichever leads
				s.wantMetrics(t, `relay_halted{service="command"} 0`)
			}
			standby.Stop()
			s.Stop()
		})
	}
}
