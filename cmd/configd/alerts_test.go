package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/config-api/config-api/shared/testkit"
)

// rule is an alert of deploy/prometheus/rules.yml, or a recorded metric.
type rule struct {
	Record, Alert, Expr string
	Labels, Annotations map[string]string
}

func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal([]byte(deployed(t, "prometheus/rules.yml")), &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

// panels returns the queries of the dashboard by the titles of their panels.
func panels(t *testing.T) map[string][]string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct {
				Name  string
				Query any // a text, or of metrics a map with it
			}
		}
	}
	if err := json.Unmarshal([]byte(deployed(t, "grafana/dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			all[panel.Title] = append(all[panel.Title], target.Expr)
		}
	}
	for _, variable := range dashboard.Templating.List {
		if query, ok := variable.Query.(map[string]any); ok {
			all["variable "+variable.Name] = []string{fmt.Sprint(query["query"])}
		}
	}
	return all
}

// series are the metrics that there are, and their labels with the values that
// were seen. Prometheus adds some of its own.
type series map[string]map[string]map[string]bool

var (
	sample    = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? `)
	selector  = regexp.MustCompile(`\b((?:config_api|go|process)_\w+)(?:\{([^}]*)\})?`)
	recorded  = regexp.MustCompile(`\b\w+(?::\w+)+`)
	matcher   = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"`)
	aggregate = regexp.MustCompile(`\b(?:by|on) ?\(([^)]*)\)`)
)

func (s series) read(text string) {
	for line := range strings.Lines(text) {
		found := sample.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		labels := s[found[1]]
		if labels == nil {
			labels = map[string]map[string]bool{"instance": {}, "job": {}, "service": {}}
			s[found[1]] = labels
		}
		for _, label := range matcher.FindAllStringSubmatch(found[2], -1) {
			if labels[label[1]] == nil {
				labels[label[1]] = map[string]bool{}
			}
			labels[label[1]][label[3]] = true
		}
	}
}

// hold reports what a query asks for that can never be there.
func (s series) hold(t *testing.T, query string) {
	t.Helper()
	seen := map[string]bool{}
	for _, found := range selector.FindAllStringSubmatch(recorded.ReplaceAllString(query, ""), -1) {
		labels := s[found[1]]
		if labels == nil {
			t.Errorf("there is no metric %s: %s", found[1], query)
			continue
		}
		for label := range labels {
			seen[label] = true
		}
		for _, match := range matcher.FindAllStringSubmatch(found[2], -1) {
			if labels[match[1]] == nil {
				t.Errorf("%s has no label %s: %s", found[1], match[1], query)
			}
			// Others have values, like a status, that come with the first of them.
			closed := slices.Contains([]string{"code", "route", "service"}, match[1])
			if closed && match[2] == "=" && !labels[match[1]][match[3]] {
				t.Errorf("no %s has %s: %s", found[1], match[0], query)
			}
		}
	}
	if len(seen) == 0 {
		return // of nothing that the services have
	}
	for _, found := range aggregate.FindAllStringSubmatch(query, -1) {
		for label := range strings.SplitSeq(found[1], ",") {
			if label = strings.TrimSpace(label); label != "" && !seen[label] {
				t.Errorf("nothing here has the label %s: %s", label, query)
			}
		}
	}
}

// A query for a metric that there is not says nothing, and an alert on it never
// fires: whoever renames a metric finds out here.
func TestAlertsAndDashboardAskForWhatThereIs(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := startSystem(t)
	there := series{}
	there.read(s.ask(t, "/metrics", ""))

	records := map[string]bool{}
	for _, rule := range rules(t) {
		records[rule.Record] = true
		there.hold(t, rule.Expr)
	}
	queries := 0
	for title, all := range panels(t) {
		for _, query := range all {
			queries++
			there.hold(t, query)
			for _, name := range recorded.FindAllString(matcher.ReplaceAllString(query, ""), -1) {
				if !records[name] {
					t.Errorf("%s: no rule records %s", title, name)
				}
			}
		}
	}
	if queries < 50 {
		t.Errorf("only %d queries in the dashboard", queries)
	}
}

// Who is woken up by an alert is told what to do, and where there is more.
func TestAlertsSayWhatToDo(t *testing.T) {
	t.Parallel()
	runbook, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(runbook), -1) {
		anchor := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		anchors["docs/operations.md#"+strings.ReplaceAll(anchor, " ", "-")] = true
	}
	tests, alerts := deployed(t, "prometheus/rules_test.yml"), 0
	for _, rule := range rules(t) {
		if rule.Alert == "" {
			continue
		}
		alerts++
		for _, name := range []string{"summary", "description", "runbook"} {
			if rule.Annotations[name] == "" {
				t.Errorf("%s has no %s", rule.Alert, name)
			}
		}
		if at := rule.Annotations["runbook"]; !anchors[at] {
			t.Errorf("%s: there is no %s, but %v", rule.Alert, at, slices.Sorted(maps.Keys(anchors)))
		}
		if severity := rule.Labels["severity"]; severity != "page" && severity != "ticket" {
			t.Errorf("%s has severity %q", rule.Alert, severity)
		}
		if !strings.Contains(tests, `alertname="`+rule.Alert+`"`) {
			t.Errorf("rules_test.yml has no case of %s", rule.Alert)
		}
		if !strings.Contains(string(runbook), "`"+rule.Alert+"`") {
			t.Errorf("docs/operations.md does not have the alert %s", rule.Alert)
		}
	}
	if alerts < 15 {
		t.Errorf("only %d alerts", alerts)
	}
}
