//go:build compose

package e2e

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/testkit/contract"
)

// These tests are of the containers themselves, already up: those of the single
// system or of the cluster, as COMPOSE_FILE says: see scripts/test-compose.sh. What
// they answer is TestContract's.

func apiURL() string {
	if url := os.Getenv("CONFIG_API_URL"); url != "" {
		return url
	}
	return "http://127.0.0.1:4000"
}

// docker runs a docker command in the project's folder.
func docker(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustDocker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := docker(t.Context(), args...)
	if err != nil {
		t.Fatalf("docker %s: %v %s", strings.Join(args, " "), err, out)
	}
	return out
}

// container is what matters of docker inspect.
type container struct {
	ID    string `json:"Id"`
	Image string
	State struct {
		ExitCode int
		Health   struct{ Status string }
	}
	Config struct {
		User   string
		Labels map[string]string
	}
	HostConfig struct {
		ReadonlyRootfs bool
		CapDrop        []string
		SecurityOpt    []string
	}
	NetworkSettings struct {
		Ports    map[string][]struct{ HostIP string }
		Networks map[string]struct{ IPAddress string }
	}
}

func (c *container) service() string { return c.Config.Labels["com.docker.compose.service"] }

// address is that of the container in the network of the project, which this
// machine reaches though nobody else does.
func (c *container) address(t *testing.T, port string) string {
	t.Helper()
	for _, network := range c.NetworkSettings.Networks {
		return net.JoinHostPort(network.IPAddress, port)
	}
	t.Fatalf("%s has no network", c.service())
	return ""
}

// containers are those of the project, or those of some of its services.
func containers(t *testing.T, services ...string) []container {
	t.Helper()
	ids := strings.Fields(mustDocker(t, "ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project="+project(t).Name))
	var all []container
	if err := json.Unmarshal([]byte(mustDocker(t, append([]string{"inspect"}, ids...)...)), &all); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(c container) bool {
		return len(services) > 0 && !slices.Contains(services, c.service())
	})
}

// composed is what matters of docker compose config.
type composed struct {
	Name     string
	Services map[string]struct{}
}

var composeConfig = sync.OnceValues(func() (string, error) {
	return docker(context.Background(), "compose", "config", "--format", "json")
})

func project(t *testing.T) composed {
	t.Helper()
	var p composed
	out, err := composeConfig()
	if err == nil {
		err = json.Unmarshal([]byte(out), &p)
	}
	if err != nil {
		t.Fatalf("docker compose config: %v %s", err, out)
	}
	return p
}

// services are those of the compose file.
func services(t *testing.T) []string {
	t.Helper()
	return slices.Sorted(maps.Keys(project(t).Services))
}

// server is the service of Postgres or NATS that writes go to, or may.
func server(t *testing.T, kind string) string {
	t.Helper()
	for _, name := range services(t) {
		if strings.HasPrefix(name, kind) {
			return name // the first of several
		}
	}
	t.Fatalf("there is no %s", kind)
	return ""
}

// password is that of the environment, as docker compose has it too, or the
// default.
func password(of string) string {
	variable := strings.ToUpper(strings.ReplaceAll(of, "-", "_")) + "_PASSWORD"
	return cmp.Or(os.Getenv(variable), strings.TrimPrefix(of, "nats-")+"-local")
}

// A service that is taken over can neither change its program nor become root,
// and nothing is reached from another machine.
func TestComposeContainersAreLocked(t *testing.T) {
	all := containers(t)
	if len(all) < len(services(t)) {
		t.Fatalf("%d containers of the services %v", len(all), services(t))
	}
	for i := range all {
		c := &all[i]
		name := c.service()
		if !c.HostConfig.ReadonlyRootfs {
			t.Errorf("%s can write to its root filesystem", name)
		}
		if len(c.HostConfig.SecurityOpt) == 0 || len(c.HostConfig.CapDrop) == 0 {
			t.Errorf("%s can gain privileges: %v, drops %v", name, c.HostConfig.SecurityOpt, c.HostConfig.CapDrop)
		}
		for port, bound := range c.NetworkSettings.Ports {
			for _, b := range bound {
				if b.HostIP != "127.0.0.1" {
					t.Errorf("%s: port %s is open on %s", name, port, b.HostIP)
				}
				if name != "gateway" && name != "nats" { // that of the single system is for subscribers
					t.Errorf("%s: port %s is published", name, port)
				}
			}
		}
		if strings.HasPrefix(name, "postgres") || strings.HasPrefix(name, "nats") {
			continue
		}
		if user, _, _ := strings.Cut(c.Config.User, ":"); user == "" || user == "0" || user == "root" {
			t.Errorf("%s runs as root", name)
		}
		if name == "gateway" {
			continue
		}
		size, err := strconv.Atoi(strings.TrimSpace(mustDocker(t, "image", "inspect", "--format={{.Size}}", c.Image)))
		if err != nil || size > 30<<20 {
			t.Errorf("the image of %s has %d bytes, want at most 30 MB: %v", name, size, err)
		}
	}
}

// Metrics are for those within the network; the gateway keeps them there.
func TestComposeMetricsStayInside(t *testing.T) {
	if got := contract.New(apiURL()).Do(t, "GET", "/metrics", ""); got.Status != http.StatusNotFound {
		t.Errorf("the gateway answered %d %.200s", got.Status, got.Body)
	}
	for service, port := range map[string]string{"command": "4001", "query": "4002", "projector": "4003"} {
		out := mustDocker(t, "compose", "exec", "-T", "gateway", "wget", "-q", "-O", "-", "http://"+service+":"+port+"/metrics")
		if !strings.Contains(out, `config_api_build_info{`) || !strings.Contains(out, `service="`+service+`"`) {
			t.Errorf("%s has no metrics: %.500s", service, out)
		}
	}
}

// psql runs SQL in the database's container as one of the roles.
func psql(t *testing.T, role, sql string) (string, error) {
	t.Helper()
	url := "postgres://" + role + ":" + password(strings.TrimPrefix(role, "config_")) + "@127.0.0.1:5432/config_api_eventstore"
	return docker(t.Context(), "compose", "exec", "-T", server(t, "postgres"), "psql", url, "-Atc", sql)
}

// Each role of the database can do its work and no more.
func TestComposeDatabaseRoles(t *testing.T) {
	contract.New(apiURL()).Do(t, "PUT", "/v1/config/roles", `{"value":"x"}`)
	for _, test := range []struct{ role, sql, refused string }{
		{"config_query", "select count(*) from readmodel.history_1", ""},
		{"config_query", "select * from eventstore.events", "permission denied"},
		{"config_query", "delete from readmodel.current_1", "permission denied"},
		{"config_query", "update readmodel.checkpoint set position = 1", "permission denied"},
		{"config_query", "create table readmodel.mine ()", "permission denied"},
		{"config_query", "create table public.mine ()", "permission denied"},
		{"config_projector", "select * from eventstore.log_head", "permission denied"},
		{"config_command", "select count(*) from eventstore.events", ""},
		{"config_command", "update eventstore.events set actor = 'eve'", "permission denied"},
		{"config_command", "delete from eventstore.events", "permission denied"},
		{"config_command", "truncate eventstore.events", "permission denied"},
		{"config_command", "delete from eventstore.commands", "permission denied"},
		{"config_command", "delete from eventstore.log_head", "permission denied"},
		{"config_command", "alter table eventstore.events disable trigger all", "must be owner"},
		{"config_command", "select * from readmodel.current_1", "permission denied"},
		{"config_owner", "update eventstore.events set actor = 'eve'", "append-only"},
	} {
		out, err := psql(t, test.role, test.sql)
		if refused := err != nil; refused != (test.refused != "") || !strings.Contains(out, test.refused) {
			t.Errorf("%s: %s: %v %s, want refused: %q", test.role, test.sql, err, out, test.refused)
		}
	}
}

// killed is the exit code of what did not stop when it was told to.
const killed = 128 + 9

// Stop is clean and quick, with a watch open, and what was there is there again
// after the start.
func TestComposeStopsAndStarts(t *testing.T) {
	api := contract.New(apiURL())
	api.Do(t, "PUT", "/v1/config/kept", `{"value":"over a restart"}`)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, apiURL()+"/v2/namespaces/default/watch", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Body.Close() }()
	if first, err := bufio.NewReader(watch.Body).ReadString('\n'); err != nil || first != "event: bookmark\n" {
		t.Fatalf("the watch begins with %q, %v", first, err)
	}
	began := time.Now()
	mustDocker(t, "compose", "stop")
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("stopping took %v", took)
	}
	for _, c := range containers(t) {
		name := c.service()
		// Caddy 2.6 can panic when it cuts off a stream; what counts is that
		// it ends by itself.
		if code := c.State.ExitCode; code != 0 && (name != "gateway" || code == killed) {
			t.Errorf("%s ended with %d", name, c.State.ExitCode)
		}
	}
	mustDocker(t, "compose", "up", "--detach", "--wait")
	if got := api.Do(t, "GET", "/v1/config/kept", ""); got.Status != http.StatusOK || got.Body != "over a restart" {
		t.Errorf("after the restart: %d %q", got.Status, got.Body)
	}
	if got := api.Do(t, "PUT", "/v1/config/kept", `{"value":"goes on"}`); got.Status != http.StatusOK {
		t.Errorf("a write after the restart: %d %q", got.Status, got.Body)
	}
}
