package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/testkit"
)

// operation is a read of the version, or a write that expects one.
type operation struct {
	write    bool
	expected int64
	// seen, of a write, is by how many others the version that it expects was
	// seen, in the whole history. See counter.
	seen int
}

// observed is the version that an operation saw: of a write that won its own,
// of one that lost the one that was there.
type observed struct {
	won     bool
	version int64
}

// state is the version, and how many have seen it so far.
type state struct {
	version int64
	seen    int
}

// counter is what one config should be like: a version that a write moves on
// by one if it expects the present one, and that is shown to all others. As a
// version never comes back, who saw it must have done so before the write that
// ends it: saying so changes nothing about which histories are allowed, and
// spares the checker from trying every other order of so many clients.
var counter = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(now, input, output any) (bool, any) {
		s, in, out := now.(state), input.(operation), output.(observed)
		if in.write && in.expected == s.version {
			return out.won && out.version == s.version+1 && in.seen == s.seen, state{version: s.version + 1}
		}
		return !out.won && out.version == s.version, state{s.version, s.seen + 1}
	},
}

// Many clients compete for one config, each writing what it read last. Whatever
// they saw can be put in one order that respects time, and one wins per version.
func TestWritesAreLinearizable(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	const clients, rounds = 64, 5
	database := testkit.DatabaseURL(t, eventlog.Schema)
	services := []system{start(t, database, noNATS), start(t, database, noNATS)}
	c := &competition{t: t, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}}
	defer c.client.CloseIdleConnections()

	var wg sync.WaitGroup
	for id := range clients {
		wg.Go(func() {
			for range rounds {
				url := services[id%len(services)].URL
				c.write(id, url, c.read(id, url))
			}
		})
	}
	wg.Wait()

	wins, seen := map[int64]int{}, map[int64]int{}
	for _, op := range c.history {
		if out := op.Output.(observed); out.won {
			wins[out.version]++
		} else {
			seen[out.version]++
		}
	}
	for i, op := range c.history {
		in := op.Input.(operation)
		in.seen = seen[in.expected]
		c.history[i].Input = in
	}
	for version := range int64(len(wins)) {
		if wins[version+1] != 1 {
			t.Errorf("version %d was won %d times", version+1, wins[version+1])
		}
	}
	services[0].wantEvents(t, len(wins))
	begin := time.Now()
	if result := porcupine.CheckOperationsTimeout(counter, c.history, 20*time.Second); result != porcupine.Ok {
		t.Errorf("the history is %s", result)
	}
	t.Logf("%d clients, %d operations, %d writes won, checked in %v", clients, len(c.history), len(wins), time.Since(begin))
}

// competition sends requests and writes down when each was sent and answered,
// and what it saw.
type competition struct {
	t      *testing.T
	client *http.Client

	mu      sync.Mutex
	history []porcupine.Operation
}

// read asks the log, which has no other event than those of the one config: its
// position is the version.
func (c *competition) read(id int, url string) int64 {
	var head struct {
		Position int64 `json:"position"`
	}
	c.do(id, operation{}, "GET", url+"/v2/log/head", "", &head, func(int) observed { return observed{version: head.Position} })
	return head.Position
}

func (c *competition) write(id int, url string, expected int64) {
	header := fmt.Sprintf(`If-Match: "v%d"`, expected)
	if expected == 0 {
		header = "If-None-Match: *"
	}
	var answer struct {
		Version   int64                    `json:"version"`
		Conflicts []config.VersionConflict `json:"conflicts"`
	}
	c.do(id, operation{write: true, expected: expected}, "PUT", url+"/v2/namespaces/ns/configs/one", header, &answer, func(status int) observed {
		switch {
		case status/100 == 2:
			return observed{won: true, version: answer.Version}
		case status == http.StatusPreconditionFailed && len(answer.Conflicts) == 1:
			return observed{version: answer.Conflicts[0].Version}
		default:
			c.t.Errorf("the write answered %d %+v", status, answer)
			return observed{version: -1}
		}
	})
}

func (c *competition) do(id int, in operation, method, url, header string, answer any, saw func(status int) observed) {
	request, err := http.NewRequestWithContext(c.t.Context(), method, url, strings.NewReader(`{"value":1}`))
	if err != nil {
		c.t.Error(err)
		return
	}
	if name, value, ok := strings.Cut(header, ": "); ok {
		request.Header.Set(name, value)
	}
	call := time.Now()
	response, err := c.client.Do(request)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		c.t.Error(err)
		return
	}
	done := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history = append(c.history, porcupine.Operation{
		ClientId: id, Input: in, Call: call.UnixNano(), Output: saw(response.StatusCode), Return: done.UnixNano(),
	})
}
