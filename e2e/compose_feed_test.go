//go:build compose

package e2e

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/testkit/contract"
)

// subscriber connects with the password that everybody may have.
func subscriber(t *testing.T) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	url := os.Getenv("NATS_URL")
	if url == "" { // it is not published
		url = "nats://" + containers(t, server(t, "nats"))[0].address(t, "4222")
	}
	nc, err := nats.Connect(url, nats.UserInfo("subscriber", password("nats-subscriber")),
		nats.CustomInboxPrefix("_INBOX_subscriber"), nats.PermissionErrOnSubscribe(true),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // refusals arrive here, and as time-outs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// Stock consumers, durable and not, follow the feed.
func TestComposeSubscriberReads(t *testing.T) {
	put := contract.New(apiURL()).Do(t, "PUT", "/v1/config/subscribed", `{"value":"x"}`)
	if put.Status != 200 {
		t.Fatalf("PUT: %d %s", put.Status, put.Body)
	}
	_, js := subscriber(t)
	for _, durable := range []string{"", "mine"} {
		consumer, err := js.CreateOrUpdateConsumer(t.Context(), feed.Stream, jetstream.ConsumerConfig{
			Durable: durable, FilterSubject: "config.events.default.subscribed", DeliverPolicy: jetstream.DeliverLastPolicy,
		})
		if err != nil {
			t.Fatalf("consumer %q: %v", durable, err)
		}
		msg := next(t, consumer)
		checkPosition(t, put, msg)
		if err := msg.DoubleAck(t.Context()); err != nil {
			t.Errorf("consumer %q: %v", durable, err)
		}
	}
	ordered, err := js.OrderedConsumer(t.Context(), feed.Stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{feed.Subjects}, DeliverPolicy: jetstream.DeliverLastPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	checkPosition(t, put, next(t, ordered))
}

// next returns a consumer's next message. In a cluster the server that answered
// "created" may know of the consumer before the one asked for the message does,
// and that one says "no responders": it is asked again, as Consume and Messages
// do by themselves.
func next(t *testing.T, consumer jetstream.Consumer) jetstream.Msg {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		msg, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err == nil {
			return msg
		}
		if !errors.Is(err, nats.ErrNoResponders) || ctx.Err() != nil {
			t.Fatalf("the next message of consumer %s: %v", consumer.CachedInfo().Name, err)
		}
	}
}

func checkPosition(t *testing.T, put contract.Answer, msg jetstream.Msg) {
	t.Helper()
	meta, err := msg.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	written, position := put.Header.Get("Config-Position"), msg.Headers().Get("Config-Position")
	if !strings.HasSuffix(written, ":"+position) || position != strconv.FormatUint(meta.Sequence.Stream, 10) {
		t.Errorf("the message is at position %s and sequence %d, the write was at %s", position, meta.Sequence.Stream, written)
	}
}

// A subscriber can do nothing else: not write, not look elsewhere, not disturb
// the services.
func TestComposeSubscriberIsConfined(t *testing.T) {
	nc, js := subscriber(t)
	ctx := t.Context() // without a deadline: what is refused takes the default time-out each
	consume := func(c jetstream.ConsumerConfig) func() error {
		return func() error {
			_, err := js.CreateConsumer(ctx, feed.Stream, c)
			return err
		}
	}
	request := func(subject string) func() error {
		return func() error {
			_, err := nc.Request(subject, []byte(`{"seq":1}`), time.Second)
			return err
		}
	}
	for what, try := range map[string]func() error{
		"publish on the feed": func() error {
			_, err := js.Publish(ctx, "config.events.default.subscribed", []byte("{}"), jetstream.WithRetryAttempts(0))
			return err
		},
		"make a stream": func() error {
			_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "MINE", Subjects: []string{"mine"}})
			return err
		},
		"change the feed": func() error {
			_, err := js.UpdateStream(ctx, jetstream.StreamConfig{Name: feed.Stream, Subjects: []string{"mine"}})
			return err
		},
		"delete the feed":  func() error { return js.DeleteStream(ctx, feed.Stream) },
		"purge the feed":   request("$JS.API.STREAM.PURGE." + feed.Stream),
		"delete a message": request("$JS.API.STREAM.MSG.DELETE." + feed.Stream),
		"delete the projector's consumer": func() error {
			return js.DeleteConsumer(ctx, feed.Stream, "projector-a")
		},
		"reset the projector's consumer":  request("$JS.API.CONSUMER.RESET." + feed.Stream + ".projector-a"),
		"take the projector's messages":   request("$JS.API.CONSUMER.MSG.NEXT." + feed.Stream + ".projector-a"),
		"replace the projector's":         consume(jetstream.ConsumerConfig{Durable: "projector-b", FilterSubject: feed.Subjects}),
		"consume without a filter":        consume(jetstream.ConsumerConfig{Name: "all"}),
		"consume with several filters":    consume(jetstream.ConsumerConfig{Name: "two", FilterSubjects: []string{"config.events.a.b", "config.events.a.c"}}),
		"consume other subjects":          consume(jetstream.ConsumerConfig{Name: "other", FilterSubject: ">"}),
		"ask for the head":                request(feed.HeadSubject),
		"listen to the answers to others": func() error { return listen(nc, "_INBOX_relay.>") },
		"listen to what services say":     func() error { return listen(nc, feed.ServedSubject) },
	} {
		if try() == nil {
			t.Errorf("a subscriber could %s", what)
		}
	}
}

// listen fails if the subscription is refused.
func listen(nc *nats.Conn, subject string) error {
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		return err
	}
	if _, err = sub.NextMsg(3 * time.Second); errors.Is(err, nats.ErrPermissionViolation) {
		return err
	}
	return nil
}
