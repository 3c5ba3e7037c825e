package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/config-api/config-api/shared/feed"
)

const (
	natsDefaultListen = "127.0.0.1:4222"
	natsUser          = "configd"
	// natsReadyTimeout bounds the start, with the recovery of a large stream in it.
	natsReadyTimeout = 60 * time.Second
	// natsMaxPayload holds the largest atomic batch that the relay sends.
	natsMaxPayload = 32 << 20
)

// feedReaders is what a client without credentials may do: follow the feed, with
// a durable consumer if it likes, and nothing else. A message published on the
// feed's subjects by anybody but the relay would break "sequence is position".
func feedReaders() *server.Permissions {
	const stream = feed.Stream
	deny := []string{}
	for _, ours := range []string{"projector-a", "projector-b", "changelog"} {
		deny = append(deny,
			"$JS.API.CONSUMER.*."+stream+"."+ours, "$JS.API.CONSUMER.*."+stream+"."+ours+".>",
			"$JS.API.CONSUMER.*.*."+stream+"."+ours, "$JS.ACK."+stream+"."+ours+".>")
	}
	return &server.Permissions{
		Publish: &server.SubjectPermission{
			Allow: []string{
				"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO." + stream,
				"$JS.API.CONSUMER.CREATE." + stream + ".>", "$JS.API.CONSUMER.DURABLE.CREATE." + stream + ".*",
				"$JS.API.CONSUMER.INFO." + stream + ".*", "$JS.API.CONSUMER.DELETE." + stream + ".*",
				"$JS.API.CONSUMER.NAMES." + stream, "$JS.API.CONSUMER.LIST." + stream,
				"$JS.API.CONSUMER.MSG.NEXT." + stream + ".*", "$JS.API.DIRECT.GET." + stream + ".>",
				"$JS.API.STREAM.MSG.GET." + stream, "$JS.ACK." + stream + ".>", "$JS.FC.>",
			},
			Deny: deny,
		},
		Subscribe: &server.SubjectPermission{Allow: []string{feed.Subjects, feed.AppliedSubject, "_INBOX.>"}},
	}
}

// embeddedNATS is a NATS server in this process, with its files in the data
// directory.
type embeddedNATS struct {
	*server.Server
	password string // of natsUser; new at each start
}

// startNATS returns when the server takes connections. listen is host:port; when
// it is empty, the default is used, or a free port if that is taken.
func startNATS(dataDir, listen string, logger *slog.Logger) (*embeddedNATS, error) {
	host, port, err := natsAddress(listen, natsDefaultListen, logger)
	if err != nil {
		return nil, err
	}
	password := rand.Text()
	ns, err := server.NewServer(&server.Options{
		ServerName: "configd", Host: host, Port: port, NoSigs: true,
		JetStream: true, StoreDir: filepath.Join(dataDir, "nats"), SyncAlways: true, DisableJetStreamBanner: true,
		MaxPayload: natsMaxPayload,
		Users: []*server.User{
			{Username: natsUser, Password: password},
			{Username: "reader", Permissions: feedReaders()},
		},
		NoAuthUser: "reader",
	})
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	log := &natsLog{logger: logger, fatal: make(chan string, 1)}
	ns.SetLoggerV2(log, false, false, false)
	ns.Start()
	ready := make(chan bool, 1)
	go func() { ready <- ns.ReadyForConnections(natsReadyTimeout) }()
	reason := fmt.Sprintf("not ready within %v", natsReadyTimeout)
	select {
	case ok := <-ready:
		if ok {
			return &embeddedNATS{Server: ns, password: password}, nil
		}
	case reason = <-log.fatal:
	}
	ns.Shutdown()
	return nil, fmt.Errorf("embedded NATS: %s", reason)
}

// stop returns when the server has flushed and closed its files.
func (n *embeddedNATS) stop() {
	n.Shutdown()
	n.WaitForShutdown()
}

// natsAddress splits listen, and looks whether it is free.
func natsAddress(listen, fallback string, logger *slog.Logger) (host string, port int, err error) {
	asked := listen != ""
	if !asked {
		listen = fallback
	}
	host, portText, err := net.SplitHostPort(listen)
	if err == nil {
		port, err = strconv.Atoi(portText)
	}
	if err != nil {
		return "", 0, fmt.Errorf("--nats-listen: %w", err)
	}
	if port == 0 {
		return host, server.RANDOM_PORT, nil
	}
	probe, err := net.Listen("tcp", listen)
	switch {
	case err == nil:
		return host, port, probe.Close()
	case errors.Is(err, syscall.EADDRINUSE) && asked:
		return "", 0, fmt.Errorf("--nats-listen: another program listens on %s", listen)
	case errors.Is(err, syscall.EADDRINUSE):
		logger.Warn("another program listens on NATS's usual port: using a free one", "taken", listen)
		return host, server.RANDOM_PORT, nil
	default:
		return "", 0, fmt.Errorf("--nats-listen: %w", err)
	}
}

// natsLog hands the server's messages to our log. What the server notes about
// itself is only interesting to who debugs it.
type natsLog struct {
	logger *slog.Logger
	fatal  chan string
}

// ourChoice begins the warnings about what was chosen with care here: a password
// that lives as long as the process, and messages that hold a whole batch.
var ourChoice = []string{"Plaintext passwords detected", "Maximum payloads over"}

func (l *natsLog) Warnf(format string, v ...any) {
	for _, known := range ourChoice {
		if strings.HasPrefix(format, known) {
			return
		}
	}
	l.log(slog.LevelWarn, format, v)
}

func (l *natsLog) Errorf(format string, v ...any)  { l.log(slog.LevelError, format, v) }
func (l *natsLog) Noticef(format string, v ...any) { l.log(slog.LevelDebug, format, v) }
func (l *natsLog) Debugf(format string, v ...any)  { l.log(slog.LevelDebug, format, v) }
func (l *natsLog) Tracef(format string, v ...any)  { l.log(slog.LevelDebug, format, v) }

func (l *natsLog) log(level slog.Level, format string, v []any) {
	l.logger.Log(context.Background(), level, "NATS", "message", fmt.Sprintf(format, v...))
}

// Fatalf is the server's last word: it would have ended the process.
func (l *natsLog) Fatalf(format string, v ...any) {
	l.log(slog.LevelError, format, v)
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}
