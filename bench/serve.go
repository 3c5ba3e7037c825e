package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats-server/v2/server"
	"go.etcd.io/etcd/server/v3/embed"
)

// serve is a peer as a process of its own: it prints its address and works until
// its standard input ends, as it does when whoever started it is gone.
func serve(ctx context.Context, what, dir string) error {
	start, ok := map[string]func(string) (string, func(), error){
		"etcd": serveEtcd, "nats": serveNATS, "constant": serveConstant, "bare": serveBare,
	}[what]
	if !ok {
		return fmt.Errorf("there is no peer %s", what)
	}
	address, stop, err := start(dir)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Println(address)
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return nil
}

// serveEtcd has etcd's defaults: every write is on the disk before it is answered.
func serveEtcd(dir string) (string, func(), error) {
	config := embed.NewConfig()
	config.Dir, config.LogLevel = dir, "fatal" // it calls its own end an error
	var urls []url.URL
	for range 2 {
		port, err := freePort()
		if err != nil {
			return "", nil, err
		}
		urls = append(urls, url.URL{Scheme: "http", Host: port})
	}
	config.ListenClientUrls, config.AdvertiseClientUrls = urls[:1], urls[:1]
	config.ListenPeerUrls, config.AdvertisePeerUrls = urls[1:], urls[1:]
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return "", nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return urls[0].Host, etcd.Close, nil
	case err := <-etcd.Err():
		return "", nil, err
	case <-time.After(time.Minute):
		return "", nil, fmt.Errorf("etcd is not ready: %w", errStopped)
	}
}

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}

func serveNATS(dir string) (string, func(), error) {
	ns, err := server.NewServer(&server.Options{
		ServerName: "bench", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir, SyncAlways: true, MaxPayload: 32 << 20,
	})
	if err != nil {
		return "", nil, err
	}
	ns.Start()
	if !ns.ReadyForConnections(time.Minute) {
		return "", nil, fmt.Errorf("NATS is not ready: %w", errStopped)
	}
	return ns.ClientURL(), func() { ns.Shutdown(); ns.WaitForShutdown() }, nil
}

// serveConstant is what HTTP itself costs: echo, and an answer that is always the
// same.
func serveConstant(string) (string, func(), error) {
	e := echo.New()
	answer := strings.Repeat("v", valueSize)
	e.GET("/v2/namespaces/:namespace/configs/:name", func(c echo.Context) error { return c.String(http.StatusOK, answer) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	serving := &http.Server{Handler: e, ReadHeaderTimeout: time.Minute}
	go func() { _ = serving.Serve(listener) }()
	return "http://" + listener.Addr().String(), func() { _ = serving.Close() }, nil
}
