package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// Check is a named condition of being ready; its error is shown to operators.
type Check struct {
	Name string
	Run  func(context.Context) error
}

const (
	liveRoute  = "/healthz"
	readyRoute = "/readyz"
)

// checkTimeout bounds one check.
const checkTimeout = 2 * time.Second

// Health registers /healthz, which answers as long as the process does, and
// /readyz, which is 200 only when all checks pass.
func Health(e *echo.Echo, checks ...Check) {
	e.GET(liveRoute, func(c echo.Context) error { return Text(c, http.StatusOK, []byte("ok\n")) })
	e.GET(readyRoute, func(c echo.Context) error {
		results, ok := RunChecks(c.Request().Context(), checks)
		status := http.StatusOK
		if !ok {
			status = http.StatusServiceUnavailable
		}
		return c.JSON(status, map[string]any{"ready": ok, "checks": results})
	})
}

// RunChecks runs the checks side by side and returns "ok" or what is wrong for
// each, and whether all passed.
func RunChecks(ctx context.Context, checks []Check) (map[string]string, bool) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	errs := make([]error, len(checks))
	done := make(chan int, len(checks))
	for i, check := range checks {
		go func() {
			errs[i] = check.Run(ctx)
			done <- i
		}()
	}
	results, ok := make(map[string]string, len(checks)), true
	for range checks {
		i := <-done
		results[checks[i].Name] = "ok"
		if errs[i] != nil {
			results[checks[i].Name], ok = errs[i].Error(), false
		}
	}
	return results, ok
}

// Healthcheck asks the service at a listen address whether it is ready: for
// images without a shell, as `program healthcheck`.
func Healthcheck(ctx context.Context, listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("listen address: %w", err)
	}
	if host == "" || net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 2*checkTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+readyRoute, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New("not ready: " + response.Status)
	}
	return nil
}
