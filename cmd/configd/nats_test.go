package main

import (
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func testNATS(t *testing.T) *embeddedNATS {
	t.Helper()
	ns, err := startNATS(t.TempDir(), "127.0.0.1:0", slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.stop)
	return ns
}

func connect(t *testing.T, ns *embeddedNATS, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	options = append(options, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	nc, err := nats.Connect(ns.ClientURL(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(300*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// Anybody on the machine may follow the feed; nobody but our services may write
// to it or touch their consumers.
func TestReadersOnlyRead(t *testing.T) {
	t.Parallel()
	ns := testNATS(t)
	ours := connect(t, ns, nats.UserInfo(natsUser, ns.password), nats.InProcessServer(ns))
	stream, err := ours.CreateStream(t.Context(), jetstream.StreamConfig{Name: "CONFIG_EVENTS", Subjects: []string{"config.events.>"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, durable := range []string{"projector-a", "changelog"} {
		if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: durable}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ours.Publish(t.Context(), "config.events.default.motd", []byte("one")); err != nil {
		t.Fatal(err)
	}

	reader := connect(t, ns)
	read := func(t *testing.T, options jetstream.ConsumerConfig) {
		t.Helper()
		consumer, err := reader.CreateOrUpdateConsumer(t.Context(), "CONFIG_EVENTS", options)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil || string(msg.Data()) != "one" {
			t.Fatalf("got %v, %v", msg, err)
		}
		if err := msg.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	read(t, jetstream.ConsumerConfig{Durable: "mine", FilterSubject: "config.events.default.>"})
	read(t, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	if err := reader.DeleteConsumer(t.Context(), "CONFIG_EVENTS", "mine"); err != nil {
		t.Error(err)
	}

	if _, err := reader.Publish(t.Context(), "config.events.default.motd", []byte("two")); err == nil {
		t.Error("a reader published on the feed")
	}
	if err := reader.DeleteStream(t.Context(), "CONFIG_EVENTS"); err == nil {
		t.Error("a reader deleted the stream")
	}
	if err := reader.DeleteConsumer(t.Context(), "CONFIG_EVENTS", "projector-a"); err == nil {
		t.Error("a reader deleted the projector's consumer")
	}
	if _, err := reader.CreateOrUpdateConsumer(t.Context(), "CONFIG_EVENTS", jetstream.ConsumerConfig{
		Durable: "changelog", FilterSubject: "config.events.default.x",
	}); err == nil {
		t.Error("a reader changed the changelog's consumer")
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 1 || info.State.Consumers != 3 {
		t.Errorf("the stream has %+v, %v; want 1 message, 3 consumers", info.State, err)
	}
}

func TestNATSAddress(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))

	if _, port, err := natsAddress("", taken.Addr().String(), logger); err != nil || port != -1 {
		t.Errorf("the usual port is taken: got %d, %v, want a free one", port, err)
	}
	if !strings.Contains(log.String(), taken.Addr().String()) {
		t.Errorf("the log %q should say which port is taken", &log)
	}
	for _, listen := range []string{taken.Addr().String(), "127.0.0.1", "127.0.0.1:nats", "256.0.0.1:1"} {
		if _, _, err := natsAddress(listen, natsDefaultListen, logger); err == nil || !strings.Contains(err.Error(), "--nats-listen") {
			t.Errorf("--nats-listen %s: error %v", listen, err)
		}
	}
}

// What the server can't do is an error here, never the end of the process.
func TestNATSThatCannotStart(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/file"
	if err := writeFile(file); err != nil {
		t.Fatal(err)
	}
	if _, err := startNATS(file, "127.0.0.1:0", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "embedded NATS") {
		t.Errorf("error %v, want one of the embedded NATS", err)
	}
}
