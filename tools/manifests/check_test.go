package manifests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

const root = "../.."

// options are the environment variables of our programs, as their --help says.
var options = sync.OnceValues(func() (map[string][]string, error) {
	all := map[string][]string{}
	for _, name := range []string{"command", "projector", "query"} {
		cmd := exec.Command("go", "run", "./services/"+name+"/cmd/"+name, "--help")
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "GOWORK=") // this module has none, the services do
		out, err := cmd.Output()
		if err != nil {
			return nil, err
		}
		for _, line := range regexp.MustCompile(`(?m)^  --\S+ +([A-Z_]+) `).FindAllStringSubmatch(string(out), -1) {
			all[name] = append(all[name], line[1])
		}
	}
	return all, nil
})

func check(t *testing.T, dir string) []string {
	t.Helper()
	known, err := options()
	if err != nil {
		t.Fatal(err)
	}
	found, err := faults(dir, known)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestOverlays(t *testing.T) {
	overlays, err := filepath.Glob(root + "/deploy/kubernetes/overlays/*")
	if err != nil || len(overlays) == 0 {
		t.Fatal("there are no overlays: ", err)
	}
	for _, dir := range overlays {
		for _, fault := range check(t, dir) {
			t.Errorf("%s: %s", filepath.Base(dir), fault)
		}
	}
}

// What each check is for: a patch of the clustered overlay, and what it says of it.
func TestFaultsAreFound(t *testing.T) {
	const (
		anyone = "kind: Deployment, name: command"
		main   = "/spec/template/spec/containers/0/"
	)
	overlay, err := filepath.Abs(root + "/deploy/kubernetes/overlays/clustered")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, target, patch, want string }{
		{"misspelled field", anyone, `{op: add, path: /spec/template/spec/nodeSelectors, value: {}}`, `unknown field "spec.template.spec.nodeSelectors"`},
		{"wrong type", anyone, `{op: replace, path: /spec/replicas, value: two}`, "cannot unmarshal"},
		{"what makes no sense", anyone, `{op: replace, path: ` + main + `readinessProbe/periodSeconds, value: -1}`, "must be greater than or equal to 0"},
		{"probe of no port", anyone, `{op: replace, path: ` + main + `readinessProbe/httpGet/port, value: 0}`, "httpGet.port"},
		{"selector of other pods", anyone, `{op: replace, path: /spec/template/metadata/labels/app.kubernetes.io~1name, value: other}`, "`selector` does not match template `labels`"},
		{"mount of no volume", "kind: Deployment, name: gateway", `{op: replace, path: ` + main + `volumeMounts/0/name, value: other}`, "Not found"},
		{"kind that is not expected", "kind: ServiceAccount, name: query", `{op: remove, path: /automountServiceAccountToken}` + "\n      - " + `{op: replace, path: /kind, value: Secret}`, "Secret query: no such kind is expected"},
		{"policy of no protocol", "kind: NetworkPolicy, name: config-api-dns", `{op: replace, path: /spec/egress/0/ports/0/protocol, value: ICMP}`, "Unsupported value"},
		{"root", anyone, `{op: remove, path: /spec/template/spec/securityContext}`, "not restricted: runAsNonRoot"},
		{"all capabilities", anyone, `{op: remove, path: ` + main + `securityContext/capabilities}`, "not restricted: unrestricted capabilities"},
		{"writable root", anyone, `{op: remove, path: ` + main + `securityContext/readOnlyRootFilesystem}`, "can write its root"},
		{"not ready", anyone, `{op: remove, path: ` + main + `readinessProbe}`, "no readiness probe"},
		{"not alive", anyone, `{op: remove, path: ` + main + `livenessProbe}`, "no liveness probe"},
		{"no processor", anyone, `{op: remove, path: ` + main + `resources/requests/cpu}`, "requests no processor"},
		{"no memory", anyone, `{op: remove, path: ` + main + `resources/requests/memory}`, "requests no memory"},
		{"all memory", anyone, `{op: remove, path: ` + main + `resources/limits}`, "no limit of memory"},
		{"image without a tag", anyone, `{op: replace, path: ` + main + `image, value: "registry:5000/command"}`, "not of one version"},
		{"latest image", anyone, `{op: replace, path: ` + main + `image, value: "command:latest"}`, "not of one version"},
		{"secret in the manifest", anyone, `{op: add, path: ` + main + `env/-, value: {name: SIGNING_KEY, value: a}}`, "has a secret in it: SIGNING_KEY"},
		{"password in a URL", anyone, `{op: replace, path: ` + main + `env/1, value: {name: NATS_URL, value: "nats://u:p@nats:4222"}}`, "has a secret in it: NATS_URL"},
		{"option that nobody knows", anyone, `{op: add, path: ` + main + `env/-, value: {name: NATS_URLS, value: a}}`, "no option NATS_URLS"},
		{"token of the API", anyone, `{op: remove, path: /spec/template/spec/automountServiceAccountToken}`, "token of the API"},
		{"upgrade with a gap", anyone, `{op: replace, path: /spec/strategy/rollingUpdate/maxUnavailable, value: 1}`, "before there is another"},
		{"stop at once", anyone, `{op: remove, path: ` + main + `lifecycle}`, "stops while it is still asked"},
		{"stop cut short", anyone, `{op: replace, path: /spec/template/spec/terminationGracePeriodSeconds, value: 20}`, "killed before it has stopped"},
		{"no budget", "kind: PodDisruptionBudget, name: query", `{op: replace, path: /spec/selector/matchLabels, value: {a: b}}`, "Deployment query: 0 PodDisruptionBudgets"},
		{"no policy", "kind: NetworkPolicy, name: config-api-.*", `{op: replace, path: /spec/policyTypes, value: [Ingress]}`, "no NetworkPolicy restricts its Egress"},
		{"service of nobody", "kind: Service, name: query", `{op: replace, path: /spec/ports/0/targetPort, value: htpp}`, "Service query: its port http leads to no container"},
		{"service on another port", "kind: Service, name: query", `{op: replace, path: /spec/ports/0/port, value: 80}`, "Service query: its port http leads to no container"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			relative, err := filepath.Rel(dir, overlay) // kustomize wants it so
			if err != nil {
				t.Fatal(err)
			}
			text := "resources: [" + relative + "]\npatches:\n  - target: {" + test.target + "}\n    options: {allowKindChange: true}\n    patch: |-\n      - " + test.patch + "\n"
			if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			found := check(t, dir)
			if !strings.Contains(strings.Join(found, "\n"), test.want) {
				t.Errorf("found %q, want %q", found, test.want)
			}
		})
	}
}
