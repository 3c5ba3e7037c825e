package query_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/services/query"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/testkit"
)

// The process does not wait for open watches when it is told to stop: it ends
// them, and tells them so.
func TestProcessStopsWithAnOpenWatch(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	address := freeAddress(t)
	done := make(chan error, 1)
	go func() {
		done <- query.Run(ctx, []string{
			"--listen", address, "--database-url", testkit.DatabaseURL(t, readmodel.Schema), "--nats-url", natsWithStream(t),
		}, nil, io.Discard)
	}()
	testkit.Eventually(t, func() error { return get(t, "http://"+address+"/readyz", io.Discard) })
	watched := make(chan error, 1)
	shown, open := new(strings.Builder), make(chan struct{})
	go func() {
		watched <- get(t, "http://"+address+"/v2/namespaces/default/watch", opened{shown, sync.OnceFunc(func() { close(open) })})
	}()
	select {
	case <-open:
	case err := <-watched:
		t.Fatalf("the watch ended with %v and said %q", err, shown)
	}
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the process ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the process still runs, 10 s after it was told to stop")
	}
	if err := <-watched; err != nil || !strings.Contains(shown.String(), "event: dropped\n") {
		t.Errorf("the watch ended with %v and said %q", err, shown)
	}
}

// get copies an answer as it comes.
func get(t *testing.T, url string, to io.Writer) error {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	_, err = io.Copy(to, response.Body)
	return err
}

// opened tells that something was written.
type opened struct {
	io.Writer
	tell func()
}

func (o opened) Write(text []byte) (int, error) {
	defer o.tell()
	return o.Writer.Write(text)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func natsWithStream(t *testing.T) (url string) {
	t.Helper()
	url = testkit.NATS(t).URL
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := feed.EnsureStream(t.Context(), js, 1); err != nil {
		t.Fatal(err)
	}
	return url
}
