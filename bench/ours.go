package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ours is Config API as its clients see it: over HTTP. Changes are seen by a watch
// over HTTP, or by a subscriber of NATS.
type ours struct {
	url, namespace string
	natsURL        string // if the watch is to be a subscriber
	projections    string // where the projector is, if not at url
	client         *http.Client
}

func openOurs(url, namespace string) *ours {
	return &ours{url: url, namespace: namespace, client: httpClient()}
}

func httpClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512, DisableCompression: true}}
}

func (s *ours) path(name string) string {
	return s.url + "/v2/namespaces/" + s.namespace + "/configs/" + name
}

// do sends a request and reads the whole answer, which must be a success.
func do(ctx context.Context, client *http.Client, method, url, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s %.200s", method, url, response.Status, answer)
	}
	return answer, err
}

func (s *ours) put(ctx context.Context, _ int, key, value string) error {
	_, err := do(ctx, s.client, http.MethodPut, s.path(key), `{"value":"`+value+`"}`)
	return err
}

func (s *ours) get(ctx context.Context, _ int, key string) error {
	_, err := do(ctx, s.client, http.MethodGet, s.path(key), "")
	return err
}

func (s *ours) list(ctx context.Context, prefix string, want int) error {
	answer, err := do(ctx, s.client, http.MethodGet, fmt.Sprintf("%s/v2/namespaces/%s/configs?prefix=%s&limit=%d", s.url, s.namespace, prefix, want), "")
	if n := bytes.Count(answer, []byte(`"name":"`+prefix)); err == nil && n != want {
		err = fmt.Errorf("%d names, want %d", n, want)
	}
	return err
}

// write makes a change set of many.
func (s *ours) write(ctx context.Context, names []string, value string) error {
	type change struct {
		Op    string `json:"op"`
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	var set struct {
		Changes []change `json:"changes"`
	}
	for _, name := range names {
		set.Changes = append(set.Changes, change{"set", name, value})
	}
	body, err := json.Marshal(set)
	if err != nil {
		return err
	}
	_, err = do(ctx, s.client, http.MethodPost, s.url+"/v2/namespaces/"+s.namespace+"/changes", string(body))
	return err
}

// head is the position of the log's last event.
func (s *ours) head(ctx context.Context) (int64, error) {
	var head struct {
		Position int64 `json:"position"`
	}
	answer, err := do(ctx, s.client, http.MethodGet, s.url+"/v2/log/head", "")
	if err == nil {
		err = json.Unmarshal(answer, &head)
	}
	return head.Position, err
}

// settle returns when the read tables have all that was written.
func (s *ours) settle(ctx context.Context) error {
	head, err := s.head(ctx)
	if err != nil {
		return err
	}
	for {
		var projections struct {
			Items []struct {
				Position int64 `json:"position"`
			} `json:"items"`
		}
		answer, err := do(ctx, s.client, http.MethodGet, cmp.Or(s.projections, s.url)+"/v2/projections", "")
		if err == nil {
			err = json.Unmarshal(answer, &projections)
		}
		if err != nil {
			return err
		}
		if projections.Items[0].Position >= head || ctx.Err() != nil {
			return ctx.Err()
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

func (s *ours) watch(ctx context.Context, ready func(), seen func(string)) error {
	if s.natsURL != "" {
		return s.subscribe(ctx, ready, seen)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v2/namespaces/"+s.namespace+"/watch", http.NoBody)
	if err != nil {
		return err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	first := true
	for lines.Scan() {
		if first {
			first = false
			ready()
		}
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		var change struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(data, &change); err != nil {
			return err
		}
		seen(change.Name)
	}
	if ctx.Err() == nil {
		return fmt.Errorf("the watch ended: %w", lines.Err())
	}
	return nil
}

func (s *ours) subscribe(ctx context.Context, ready func(), seen func(string)) error {
	nc, err := nats.Connect(s.natsURL)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.OrderedConsumer(ctx, "CONFIG_EVENTS", jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"config.events." + s.namespace + ".>"}, DeliverPolicy: jetstream.DeliverNewPolicy,
	})
	if err != nil {
		return err
	}
	consuming, err := consumer.Consume(func(msg jetstream.Msg) {
		seen(msg.Subject()[strings.LastIndexByte(msg.Subject(), '.')+1:])
	})
	if err != nil {
		return err
	}
	defer consuming.Stop()
	sleep(ctx, 100*time.Millisecond) // the first pull has arrived by then
	ready()
	<-ctx.Done()
	return nil
}
