package service_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/tracing"
)

// BenchmarkRequest is what every request costs before and after its handler.
func BenchmarkRequest(b *testing.B) {
	e := service.NewEcho(discard, service.NewMetrics("demo"), &tracing.Tracer{})
	e.GET("/v2/namespaces/:namespace/things/:name", func(c echo.Context) error { return c.NoContent(http.StatusOK) })
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		w, r := httptest.NewRecorder(), get("/v2/namespaces/a/things/b")
		for p.Next() {
			clear(w.Header())
			e.ServeHTTP(w, r)
		}
	})
}
