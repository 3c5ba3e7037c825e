package main

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"time"
)

// greet tells a person what to do next.
func greet(out io.Writer, o options, listen net.Addr, natsURL string, took time.Duration) {
	api := "http://" + reachable(listen)
	fmt.Fprintf(out, `
Config API is ready, after %v.

  HTTP   %s
  data   %s
  NATS   %s (every change: subject config.events.>)

Try:
  curl -X PUT %s/v1/config/greeting -H 'Content-Type: application/json' -d '{"value":"hello"}'
  curl %s/v1/config/greeting

Ctrl-C stops it.

`, took.Round(10*time.Millisecond), api, o.dataDir, withoutPassword(natsURL), api, api)
}

// reachable is an address that a client on this machine can use.
func reachable(listen net.Addr) string {
	tcp, ok := listen.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return listen.String()
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
}

func withoutPassword(natsURL string) string {
	u, err := url.Parse(natsURL)
	if err != nil {
		return "(several servers)"
	}
	return u.Redacted()
}
