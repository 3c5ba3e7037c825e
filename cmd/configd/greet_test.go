package main

import (
	"net"
	"strings"
	"testing"
	"time"
)

func TestGreetingNamesWhatAClientCanUse(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	greet(&out, options{dataDir: "/data"}, &net.TCPAddr{IP: net.IPv6unspecified, Port: 4000}, "nats://me:secret@example.org:4222", time.Second)
	for _, want := range []string{"http://127.0.0.1:4000\n", "/data\n", "nats://me:xxxxx@example.org:4222"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it should say %q:\n%s", want, &out)
		}
	}
	if got := withoutPassword("nats://a:b@c:1, nats://d:e@f:2"); strings.Contains(got, "b") && strings.Contains(got, "@c") {
		t.Errorf("a password shows: %s", got)
	}
}
