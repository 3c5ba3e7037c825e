//go:build compose

package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
)

var composeSeed = flag.Uint64("compose-seed", uint64(time.Now().UnixNano()), "what the choices of the compose tests follow from")

// deadFor is how long a killed container stays away.
const deadFor = 2 * time.Second

// underLoad has clients write, read and watch until f returns, and then holds all
// that they were told against the log: lost and doubled writes, order, reads that
// did not show what they waited for. configctl check does the same from its side.
func underLoad(t *testing.T, l *load, f func()) {
	t.Helper()
	api, err := client.New(apiURL(), client.WithAttempts(8))
	if err != nil {
		t.Fatal(err)
	}
	head, err := api.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	began := config.Token{Epoch: head.Epoch, Position: head.Position}
	l.url = apiURL()
	l.start(t, *composeSeed, 6, 4)
	followers := l.follow(t, nil, began)
	f()
	l.end()
	var events []config.Event
	for after := began.Position; ; after = events[len(events)-1].Position {
		records, end, err := api.Events(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for i := range records {
			e, err := records[i].Event()
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, e)
		}
		if len(events) == 0 {
			t.Fatal("nothing was written")
		}
		if events[len(events)-1].Position == end {
			break
		}
	}
	configctlCheck(t, l.acknowledged())
	l.check(t, events, followers, readers(t))
}

// readers are the URLs of the query services, each its own.
func readers(t *testing.T) []string {
	t.Helper()
	var urls []string
	for _, c := range containers(t, "query") {
		urls = append(urls, "http://"+c.address(t, "4002"))
	}
	return urls
}

// configctlCheck runs the invariants' checker as operators do.
func configctlCheck(t *testing.T, requests []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "acknowledged.txt")
	if err := os.WriteFile(file, []byte(strings.Join(requests, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"check", "--server", apiURL(), "--requests", file}
	for _, reader := range readers(t) {
		args = append(args, "--reader", reader)
	}
	out, err := exec.CommandContext(t.Context(), "../bin/configctl", args...).CombinedOutput()
	if err != nil {
		t.Errorf("configctl check: %v", err)
	}
	t.Logf("configctl check\n%s", out)
}

// kill ends a container at once, and starts it again after a while.
func kill(t *testing.T, c *container) error {
	if out, err := docker(t.Context(), "kill", c.ID); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	time.Sleep(deadFor)
	out, err := docker(t.Context(), "start", c.ID)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// healthy waits for all containers.
func healthy(t *testing.T) error {
	var sick string
	err := until(t.Context(), "all containers are healthy", func() bool {
		sick = ""
		for _, c := range containers(t) {
			if c.State.Health.Status != "healthy" {
				sick = c.service() + " is " + c.State.Health.Status
				time.Sleep(200 * time.Millisecond) // asking takes a process each
				return false
			}
		}
		return true
	})
	if err != nil {
		err = fmt.Errorf("%w: %s", err, sick)
	}
	return err
}

// feedLeader is the service of the NATS server that leads the feed's stream.
func feedLeader(t *testing.T) string {
	t.Helper()
	first := server(t, "nats")
	if first == "nats" {
		return first
	}
	var answer struct {
		AccountDetails []struct {
			StreamDetail []struct {
				Name    string
				Cluster struct{ Leader string }
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	out := mustDocker(t, "compose", "exec", "-T", first, "wget", "-q", "-O", "-", "http://127.0.0.1:8222/jsz?streams=true")
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	for _, account := range answer.AccountDetails {
		for _, stream := range account.StreamDetail {
			if stream.Name == feed.Stream && stream.Cluster.Leader != "" {
				return stream.Cluster.Leader
			}
		}
	}
	t.Fatalf("nobody leads the feed: %s", out)
	return ""
}

// One container after the other is killed while clients write and read: nothing
// that was acknowledged is lost or there twice, and all goes on by itself.
func TestComposeKills(t *testing.T) {
	t.Logf("to repeat this run: -compose-seed=%d", *composeSeed)
	random := rand.New(rand.NewPCG(*composeSeed, 0))
	l := &load{pace: 25 * time.Millisecond, tries: 8}
	var did []injected
	began := time.Now()
	underLoad(t, l, func() {
		for _, service := range services(t) {
			of, name := service, service
			switch {
			case service == server(t, "nats"):
				of = feedLeader(t)
				name = of + ", which leads the feed"
			case strings.HasPrefix(service, "nats"):
				continue
			case service == server(t, "postgres"):
				name += ", the primary"
			}
			instances := containers(t, of)
			victim := instances[random.IntN(len(instances))]
			did = append(did, l.inject(t, name+" killed",
				func() error { return kill(t, &victim) }, func() error { return healthy(t) }))
		}
	})
	t.Log(summary(did, l.history, time.Since(began), *composeSeed))
}

// A program does not run on a schema that is newer than it knows, and says so.
func TestComposeNewerSchema(t *testing.T) {
	for service, schema := range map[string]string{"command": "eventstore", "projector": "readmodel", "query": "readmodel"} {
		role := map[string]string{"eventstore": "config_owner", "readmodel": "config_projector"}[schema]
		if out, err := psql(t, role, "insert into "+schema+".migrations (version, file) values (999, '0999_newer.sql')"); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		out, err := docker(t.Context(), "compose", "run", "--rm", "--no-deps", "-T", service)
		if err == nil || !strings.Contains(out, "the database is at version 999 and this program knows up to") {
			t.Errorf("%s on a newer schema: %v %s", service, err, out)
		}
		if out, err := psql(t, role, "delete from "+schema+".migrations where version = 999"); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
}

// More and fewer of each service, and each restarted in turn, while clients write and
// read: whatever fails is mended by one retry.
func TestComposeCluster(t *testing.T) {
	if !strings.Contains(os.Getenv("COMPOSE_FILE"), "cluster") {
		t.Skip("the single system has one of each")
	}
	l := &load{pace: 25 * time.Millisecond, tries: 2, retries: 1}
	var did []injected
	step := func(name string, f func() (string, error)) {
		did = append(did, l.inject(t, name, func() error {
			out, err := f()
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			return err
		}, func() error { return healthy(t) }))
	}
	scale := func(of ...string) func() (string, error) {
		args := []string{"compose", "up", "--detach", "--wait", "--no-recreate"}
		for _, n := range of {
			args = append(args, "--scale", n)
		}
		return func() (string, error) { return docker(t.Context(), args...) }
	}
	began := time.Now()
	underLoad(t, l, func() {
		step("scaled up", scale("command=3", "projector=3", "query=4"))
		step("scaled down", scale("command=2", "projector=2", "query=3"))
		for _, service := range []string{"command", "projector", "query"} {
			step(service+" upgraded", func() (string, error) {
				out, err := exec.CommandContext(t.Context(), "../deploy/cluster/upgrade.sh", service).CombinedOutput()
				return string(out), err
			})
		}
	})
	t.Log(summary(did, l.history, time.Since(began), *composeSeed))
	for _, failed := range l.unmended {
		t.Errorf("not mended by a retry: %s", failed)
	}
}
