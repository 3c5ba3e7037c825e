package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/labstack/echo/v4"
)

// BenchmarkGet puts reading a current value over HTTP beside an echo handler that
// answers a constant of the same length: 64 clients, names of 20 bytes, values of
// 100, the whole pipeline running. Run it with -benchtime=2s -count=5; the ratio
// is that of the two ns/op.
func BenchmarkGet(b *testing.B) {
	const names = 1000
	value := strings.Repeat("v", 100)
	constant := echo.New()
	constant.GET("/v1/config/:name", func(c echo.Context) error { return c.String(http.StatusOK, value) })
	server := httptest.NewServer(constant)
	defer server.Close()
	system := startSystem(b).url
	for i := 0; i < names; i += 500 {
		var changes []string
		for j := range 500 {
			changes = append(changes, fmt.Sprintf(`{"op":"set","name":%q,"value":%q}`, benchName(i+j), value))
		}
		send(b, http.MethodPost, system+"/v2/namespaces/default/changes", `{"changes":[`+strings.Join(changes, ",")+`]}`)
	}
	send(b, http.MethodGet, system+"/v2/namespaces/default/configs/"+benchName(names-1)+"?consistency=strong", "")

	for _, bench := range []struct{ name, url string }{
		{"constant", server.URL + "/v1/config/"},
		{"v1", system + "/v1/config/"},
		{"v2", system + "/v2/namespaces/default/configs/"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			defer client.CloseIdleConnections()
			var counter atomic.Int64
			b.SetParallelism(32) // times two processors
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					response, err := client.Get(bench.url + benchName(int(counter.Add(1))%names))
					if err != nil {
						b.Error(err)
						return
					}
					if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
						b.Errorf("answered %s, %v", response.Status, err)
					}
					_ = response.Body.Close()
				}
			})
		})
	}
}

func benchName(i int) string { return fmt.Sprintf("name-%015d", i) }

func send(b *testing.B, method, url, body string) {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), method, url, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if answer, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		b.Fatalf("%s %s: %s %s, %v", method, url, response.Status, answer, err)
	}
}
