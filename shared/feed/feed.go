// Package feed is the JetStream stream of all events: how they are encoded,
// published and consumed. The sequence of a message in the stream is the
// position of its event in the log.
package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/config"
)

const (
	// Stream is the name of the JetStream stream.
	Stream = "CONFIG_EVENTS"
	// SubjectPrefix begins the subject of every event; the namespace and the
	// parts of the name follow, each a token.
	SubjectPrefix = "config.events."
	// Subjects matches every event.
	Subjects = SubjectPrefix + ">"
)

// Options say how to reach the NATS server.
type Options struct {
	URL      string
	User     string
	Password string
	// Name of the connection, for the server's monitoring.
	Name string
	// InProcess, if not nil, is the server itself, in this process.
	InProcess nats.InProcessConnProvider
	Logger    *slog.Logger
}

// Connect returns a connection that heals itself for ever: it is also returned
// when the server can't be reached yet.
func Connect(o Options) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name(o.Name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		// What is published while the server is away is refused rather than
		// kept and sent late.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(10 * time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				o.Logger.Warn("NATS connection lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { o.Logger.Info("NATS connection restored") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { o.Logger.Warn("NATS error", "error", err) }),
	}
	if o.User != "" {
		// With an inbox of its own a user can't read the answers to another.
		options = append(options, nats.UserInfo(o.User, o.Password), nats.CustomInboxPrefix("_INBOX_"+o.User))
	}
	if o.InProcess != nil {
		options = append(options, nats.InProcessServer(o.InProcess))
	}
	nc, err := nats.Connect(o.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return nc, nil
}

// EnsureStream creates the stream if it is missing. Of a stream that exists
// only the number of replicas is changed: its limits and its first sequence
// must never be touched, or it would lose events.
func EnsureStream(ctx context.Context, js jetstream.JetStream, replicas int) error {
	stream, err := js.Stream(ctx, Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{
			Name:               Stream,
			Description:        "Every change of every config, in order, for ever. The sequence is the position in the log.",
			Subjects:           []string{Subjects},
			Storage:            jetstream.FileStorage,
			Retention:          jetstream.LimitsPolicy,
			Replicas:           replicas,
			DenyDelete:         true,
			DenyPurge:          true,
			AllowAtomicPublish: true,
			AllowDirect:        true,
			MaxMsgsPerSubject:  -1,
		})
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			err = nil // another relay was faster
		}
		return wrap("create the stream", err)
	}
	if err != nil {
		return wrap("look at the stream", err)
	}
	present := stream.CachedInfo().Config
	if present.Replicas != replicas {
		present.Replicas, present.FirstSeq = replicas, 0
		_, err = js.UpdateStream(ctx, present)
	}
	return wrap("change the stream's replicas", err)
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// ErrNoStream means that the stream does not exist (yet, or any more).
var ErrNoStream = errors.New("the stream " + Stream + " does not exist")

// Tail is the end of the stream: what its last message says, or position 0 of
// an empty stream.
type Tail struct {
	Position int64
	Epoch    string
	Hash     config.Hash
}

// Figures are JetStream's own about the stream.
type Figures struct {
	Bytes     uint64 // on disk, of one replica
	Consumers int
	Replicas  int // that have all of it, the leader among them
}

func figuresOf(info *jetstream.StreamInfo) Figures {
	f := Figures{Bytes: info.State.Bytes, Consumers: info.State.Consumers, Replicas: 1}
	if info.Cluster != nil {
		for _, peer := range info.Cluster.Replicas {
			if peer.Current && !peer.Offline {
				f.Replicas++
			}
		}
	}
	return f
}

// ReadTail returns the end of the stream. The error is [ErrNoStream] when there
// is none.
func ReadTail(ctx context.Context, js jetstream.JetStream) (Tail, error) {
	tail, _, err := ReadStream(ctx, js)
	return tail, err
}

// ReadStream is [ReadTail] with the stream's figures.
func ReadStream(ctx context.Context, js jetstream.JetStream) (Tail, Figures, error) {
	stream, err := js.Stream(ctx, Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Tail{}, Figures{}, ErrNoStream
	}
	if err != nil {
		return Tail{}, Figures{}, wrap("look at the stream", err)
	}
	info := stream.CachedInfo()
	figures, last := figuresOf(info), info.State.LastSeq
	if last == 0 {
		return Tail{}, figures, nil
	}
	msg, err := stream.GetMsg(ctx, last)
	if err != nil {
		return Tail{}, figures, wrap("read the last message", err)
	}
	event, log, err := Decode(msg.Data)
	if err != nil {
		return Tail{}, figures, err
	}
	return Tail{Position: int64(last), Epoch: log.Epoch, Hash: event.Hash}, figures, nil
}

// LastPosition returns the position of the stream's last event.
func LastPosition(ctx context.Context, js jetstream.JetStream) (int64, error) {
	stream, err := js.Stream(ctx, Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, ErrNoStream
	}
	if err != nil {
		return 0, wrap("look at the stream", err)
	}
	return int64(stream.CachedInfo().State.LastSeq), nil
}

// Subject is where the events of a config are published. The '*' of a schema's
// pattern, which a subject can't have, becomes "$any".
func Subject(namespace, name string) string {
	return SubjectPrefix + namespace + "." + strings.Replace(name, "*", "$any", 1)
}

// errConnectionLost is the cause of a context's end: see [WhileConnected].
var errConnectionLost = errors.New("the connection to NATS was lost")

// WhileConnected returns a context that also ends when the connection is lost: an
// answer that is outstanding then never comes, and would be waited for.
func WhileConnected(ctx context.Context, nc *nats.Conn) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	lost := nc.StatusChanged(nats.RECONNECTING)
	go func() {
		defer nc.RemoveStatusListener(lost)
		select {
		case <-lost:
			cancel(errConnectionLost)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
