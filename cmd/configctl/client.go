package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// timeout bounds one request.
const timeout = 30 * time.Second

type client struct {
	server string
	stdin  io.Reader
	stdout io.Writer
}

// get prints the value and a line end; with at, the value at that time.
func (c client) get(ctx context.Context, name, at string) error {
	path := "/v1/config/" + url.PathEscape(name)
	if at != "" {
		path += "/at/" + url.PathEscape(at)
	}
	value, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%s\n", value)
	return err
}

func (c client) set(ctx context.Context, name, value string) error {
	if value == "-" {
		input, err := io.ReadAll(c.stdin)
		if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		value = string(input)
	}
	if !utf8.ValidString(value) { // JSON would quietly carry something else
		return errors.New("the value is not UTF-8 text")
	}
	body, err := json.Marshal(map[string]string{"value": value})
	if err != nil {
		return err
	}
	_, err = c.do(ctx, http.MethodPut, "/v1/config/"+url.PathEscape(name), body)
	return err
}

func (c client) delete(ctx context.Context, name string) error {
	_, err := c.do(ctx, http.MethodDelete, "/v1/config/"+url.PathEscape(name), nil)
	return err
}

func (c client) list(ctx context.Context) error {
	body, err := c.do(ctx, http.MethodGet, "/v1/config", nil)
	if err != nil {
		return err
	}
	var items []struct{ Name, Value string }
	if err := json.Unmarshal(body, &items); err != nil {
		return fmt.Errorf("the answer of %s: %w", c.server, err)
	}
	table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	for _, item := range items {
		fmt.Fprintf(table, "%s\t%s\n", item.Name, oneLine(item.Value))
	}
	return table.Flush()
}

func (c client) history(ctx context.Context, name string) error {
	body, err := c.do(ctx, http.MethodGet, "/v1/config/"+url.PathEscape(name)+"/history", nil)
	if err != nil {
		return err
	}
	var events []struct {
		EventType     string `json:"event_type"`
		CreatedAt     string `json:"created_at"`
		StreamVersion int64  `json:"stream_version"`
		Data          struct {
			Value *string `json:"value"`
		}
	}
	if err := json.Unmarshal(body, &events); err != nil {
		return fmt.Errorf("the answer of %s: %w", c.server, err)
	}
	table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	for _, event := range events {
		what := "deleted"
		if event.Data.Value != nil {
			what = oneLine(*event.Data.Value)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\n", event.StreamVersion, event.CreatedAt, event.EventType, what)
	}
	return table.Flush()
}

// do returns the body of a 200. Any other answer is an error with its text.
func (c client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.server, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("the answer of %s: %w", c.server, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(answer)))
	}
	return answer, nil
}

// oneLine keeps a value with line ends from breaking a table.
func oneLine(value string) string {
	if !strings.ContainsAny(value, "\n\r\t\v\f\x1b") {
		return value
	}
	return fmt.Sprintf("%q", value)
}
