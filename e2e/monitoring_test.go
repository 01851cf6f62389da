package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestRulesAndDashboard demands that the samples in docs are valid and speak of
// metrics that there are.
func TestRulesAndDashboard(t *testing.T) {
	known := metricsOf(t, "../locksmith")
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Expr        string            `yaml:"expr"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	text := read(t, "../docs/prometheus-rules.yaml")
	if err := yaml.Unmarshal(text, &rules); err != nil || len(rules.Groups) != 1 || len(rules.Groups[0].Rules) == 0 {
		t.Fatalf("rules %+v, %v", rules, err)
	}
	for _, r := range rules.Groups[0].Rules {
		if r.Alert == "" || r.Annotations["summary"] == "" || r.Annotations["action"] == "" {
			t.Errorf("alert without a name, a summary or an action: %+v", r)
		}
		speaksOf(t, known, r.Alert, r.Expr)
	}
	if promtool, err := exec.LookPath("promtool"); err == nil {
		if out, err := exec.Command(promtool, "check", "rules", "../docs/prometheus-rules.yaml").CombinedOutput(); err != nil {
			t.Errorf("promtool: %v\n%s", err, out)
		}
	}

	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(read(t, "../docs/grafana-reboots.json"), &dashboard); err != nil || len(dashboard.Panels) == 0 {
		t.Fatalf("dashboard: %v", err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			speaksOf(t, known, p.Title, target.Expr)
		}
	}
}

var metricName = regexp.MustCompile(`\blocksmithd?_[a-z0-9_]+`)

func speaksOf(t *testing.T, known []string, what, expr string) {
	t.Helper()
	names := metricName.FindAllString(expr, -1)
	if len(names) == 0 {
		t.Errorf("%s speaks of none of our metrics: %s", what, expr)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			t.Errorf("%s: there is no metric %s", what, name)
		}
	}
}

// metricsOf are the names of metrics that stand in sources, as one string or, with
// what newDesc puts before it, as the rest of one.
func metricsOf(t *testing.T, dir string) (names []string) {
	t.Helper()
	whole, rest := regexp.MustCompile(`"(locksmithd?_[a-z0-9_]+)"`), regexp.MustCompile(`newDesc\("([a-z0-9_]+)"`)
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text := string(read(t, path))
		for _, m := range whole.FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
		for _, m := range rest.FindAllStringSubmatch(text, -1) {
			names = append(names, "locksmith_slots_"+m[1])
		}
		return nil
	})
	if err != nil || len(names) < 10 {
		t.Fatalf("metrics %q, %v", names, err)
	}
	return names
}
