package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Health is whether the parts of the system work, as one query service sees them.
type Health struct {
	Status string            `json:"status"` // healthy or unhealthy
	Checks map[string]string `json:"checks"` // by part
}

// Healthy reports whether all do.
func (h Health) Healthy() bool { return h.Status == "healthy" }

// Health asks for the health. That a part does not work is no error; it is one that
// nobody could say.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var h Health
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v1/health", http.NoBody)
	if err != nil {
		return h, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return h, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusServiceUnavailable {
		return h, failureOf(response)
	}
	if err := json.NewDecoder(response.Body).Decode(&h); err != nil || h.Status == "" {
		return h, &Error{Status: response.StatusCode, Detail: fmt.Sprintf("%s: answered %s without its health", request.URL.Redacted(), response.Status)}
	}
	return h, nil
}
