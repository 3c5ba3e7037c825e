package service_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/testkit"
	"github.com/config-api/config-api/shared/tracing"
)

// pipes is a network of one: dial gives the client's end of a connection. Its
// deadlines keep the clock of a synctest bubble.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.accepted <- server
	return client
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// A client that sends a byte now and then can't hold a connection for ever.
func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	const head = "POST /v1/things/a HTTP/1.1\r\nHost: x\r\n"
	for name, test := range map[string]struct {
		sent  string
		after time.Duration
	}{
		"nothing":             {"", 5 * time.Second},
		"half a header":       {head, 5 * time.Second},
		"half a body":         {head + "Content-Length: 10\r\n\r\nhalf", 30 * time.Second},
		"answer is not read":  {head + "Content-Length: 0\r\n\r\n", 60 * time.Second},
		"half a chunked body": {head + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				network := newPipes()
				ctx, stop := context.WithCancel(t.Context())
				served := make(chan error, 1)
				ended := make(chan time.Duration, 1)
				began := time.Now()
				handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = w.Write(make([]byte, 1<<20))
					ended <- time.Since(began)
				})
				go func() { served <- service.Serve(ctx, network, handler, discard) }()
				client := network.dial()
				if _, err := io.WriteString(client, test.sent); err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(name, "answer") {
					if took := <-ended; took != test.after {
						t.Errorf("the handler was held for %v, want %v", took, test.after)
					}
				}
				_, _ = io.Copy(io.Discard, client)
				if took := time.Since(began); took > test.after+time.Second {
					t.Errorf("it was cut off after %v, want %v", took, test.after)
				}
				_ = client.Close()
				stop()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		ctx, stop := context.WithCancel(t.Context())
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			stop()
			time.Sleep(10 * time.Second) // the bubble's time: none
			if err := r.Context().Err(); err != nil {
				t.Errorf("the request was cancelled: %v", err)
			}
			fmt.Fprint(w, "whole")
		})
		served := make(chan error, 1)
		go func() { served <- service.Serve(ctx, network, handler, discard) }()
		client := network.dial()
		if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if body, err := io.ReadAll(response.Body); err != nil || string(body) != "whole" {
			t.Errorf("got %q, %v", body, err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network, log := newPipes(), new(journal)
		ctx, stop := context.WithCancel(t.Context())
		cancelled := make(chan struct{})
		handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			stop()
			<-r.Context().Done()
			close(cancelled)
		})
		served := make(chan error, 1)
		go func() { served <- service.Serve(ctx, network, handler, log.logger()) }()
		client := network.dial()
		defer func() { _ = client.Close() }()
		if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err := <-served
		<-cancelled
		if took := time.Since(began); err != nil || took > 20*time.Second {
			t.Errorf("it stopped after %v with %v", took, err)
		}
		if len(log.lines(t, "requests in flight were cut off")) != 1 {
			t.Error("nothing in the log says that requests were cut off")
		}
	})
}

func TestServeSaysWhenItCannot(t *testing.T) {
	t.Parallel()
	network := newPipes()
	_ = network.Close()
	if err := service.Serve(t.Context(), network, http.NotFoundHandler(), discard); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	listener, err := service.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	taken := listener.Addr().String()
	for address, want := range map[string]string{
		taken:           taken + " is in use by another program: stop it, or choose another address with --listen",
		"256.0.0.1:1":   "can't listen on 256.0.0.1:1: ",
		"127.0.0.1":     "can't listen on 127.0.0.1: ",
		"127.0.0.1:abc": "can't listen on 127.0.0.1:abc: ",
	} {
		if _, err := service.Listen(t.Context(), address); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", address, err, want)
		}
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	again, never := errors.New("again"), errors.New("never")
	retry := func(err error) bool { return errors.Is(err, again) }
	synctest.Test(t, func(t *testing.T) {
		log, tries, last := new(journal), 0, time.Now()
		var waits []time.Duration
		err := service.Retry(t.Context(), log.logger(), "Godot", retry, func(context.Context) error {
			waits, last = append(waits, time.Since(last)), time.Now()
			if tries++; tries < 8 {
				return again
			}
			return nil
		})
		const ms = time.Millisecond
		if want := []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 2000 * ms, 2000 * ms}; err != nil || !slices.Equal(waits, want) {
			t.Errorf("it waited %v, %v, want %v", waits, err, want)
		}
		if lines := log.lines(t, "waiting"); len(lines) != 7 || lines[0]["for"] != "Godot" || lines[0]["error"] != "again" {
			t.Errorf("logged %v", lines)
		}

		tries = 0
		err = service.Retry(t.Context(), discard, "Godot", retry, func(context.Context) error { tries++; return never })
		if !errors.Is(err, never) || tries != 1 {
			t.Errorf("%d tries, %v; want one and its error", tries, err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = service.Retry(ctx, discard, "Godot", retry, func(context.Context) error { return again })
		if !errors.Is(err, again) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the last one and why it ended", err)
		}
	})
}

func TestHealth(t *testing.T) {
	t.Parallel()
	e := service.NewEcho(discard, service.NewMetrics("demo"), &tracing.Tracer{})
	var broken error
	service.Health(e,
		service.Check{Name: "database", Run: func(context.Context) error { return nil }},
		service.Check{Name: "feed", Run: func(context.Context) error { return broken }})
	ask := func(path string) string {
		w := httptest.NewRecorder()
		e.ServeHTTP(w, get(path))
		return fmt.Sprintf("%d %s", w.Code, w.Body)
	}
	if got, want := ask("/readyz"), `200 {"checks":{"database":"ok","feed":"ok"},"ready":true}`+"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	broken = errors.New("it's <away>")
	if got, want := ask("/readyz"), `503 {"checks":{"database":"ok","feed":"it's <away>"},"ready":false}`+"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := ask("/healthz"); got != "200 ok\n" {
		t.Errorf("got %s", got)
	}
}

// One check that hangs does not hold the others, nor the answer for long.
func TestChecksRunSideBySide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		began := time.Now()
		results, ok := service.RunChecks(t.Context(), []service.Check{
			{"a", hang}, {"b", hang}, {"c", func(context.Context) error { return nil }},
		})
		if ok || results["a"] != "context deadline exceeded" || results["b"] != results["a"] || results["c"] != "ok" || time.Since(began) != 2*time.Second {
			t.Errorf("after %v: %v, %v", time.Since(began), results, ok)
		}
	})
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("it asked for %s", r.URL)
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	for _, listen := range []string{":" + port, "0.0.0.0:" + port, "127.0.0.1:" + port, "[::]:" + port} {
		if err := service.Healthcheck(t.Context(), listen); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
	}
	status = http.StatusServiceUnavailable
	if err := service.Healthcheck(t.Context(), ":"+port); err == nil || err.Error() != "not ready: 503 Service Unavailable" {
		t.Errorf("error %v", err)
	}
	for _, listen := range []string{"127.0.0.1:1", "nonsense", "[::1%25]:x y"} {
		if err := service.Healthcheck(t.Context(), listen); err == nil {
			t.Errorf("%s: no error", listen)
		}
	}
}

// Main is what a process's main calls, so this test program plays one.
func TestMain(m *testing.M) {
	run, ok := mains[os.Getenv("SERVICE_TEST_MAIN")]
	if !ok {
		os.Exit(m.Run())
	}
	service.Main(run)
}

var mains = map[string]func(ctx context.Context, args, environ []string, out io.Writer) error{
	"fine":  func(context.Context, []string, []string, io.Writer) error { return nil },
	"help":  func(context.Context, []string, []string, io.Writer) error { return service.ErrHelp },
	"fails": func(context.Context, []string, []string, io.Writer) error { return errors.New("it broke") },
	"serves": func(ctx context.Context, args, environ []string, out io.Writer) error {
		if len(args) != 1 || args[0] != "arg" || !slices.Contains(environ, "SERVICE_TEST_MAIN=serves") {
			return fmt.Errorf("arguments %v", args)
		}
		fmt.Fprintln(out, "started")
		<-ctx.Done()
		return nil
	},
	"hangs": func(_ context.Context, _, _ []string, out io.Writer) error {
		fmt.Fprintln(out, "started")
		<-make(chan struct{})
		return nil
	},
}

func TestProcess(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		signal    os.Signal // once it says that it has started
		impatient bool      // Ctrl-C again and again
		end       string
		stderr    string
	}{
		"fine":   {end: "exit status 0"},
		"help":   {end: "exit status 0"},
		"fails":  {end: "exit status 1", stderr: "it broke\n"},
		"serves": {signal: syscall.SIGTERM, end: "exit status 0"},
		"hangs":  {signal: os.Interrupt, impatient: true, end: "signal: interrupt"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stderr strings.Builder
			cmd := exec.CommandContext(t.Context(), os.Args[0], "arg")
			cmd.Env, cmd.Stderr = append(os.Environ(), "SERVICE_TEST_MAIN="+name), &stderr
			stdout, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(stdout)
			if test.signal != nil {
				if _, err := lines.ReadString('\n'); err != nil {
					t.Fatalf("%v: %s", err, &stderr)
				}
				if err := cmd.Process.Signal(test.signal); err != nil {
					t.Fatal(err)
				}
			}
			exited := make(chan struct{})
			go func() {
				_, _ = io.Copy(io.Discard, lines)
				close(exited)
			}()
			testkit.Eventually(t, func() error {
				select {
				case <-exited:
					return nil
				default:
				}
				if test.impatient {
					_ = cmd.Process.Signal(os.Interrupt)
				}
				return errors.New("it still runs")
			})
			_ = cmd.Wait() // its state says more
			if got := cmd.ProcessState.String(); got != test.end || stderr.String() != test.stderr {
				t.Errorf("%s, it said %q; want %s, %q", got, &stderr, test.end, test.stderr)
			}
		})
	}
}
