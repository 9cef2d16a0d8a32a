package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"

	"geogate/cmd/drill"
	"geogate/configs"
	"geogate/test/cluster"
)

// alert is one rule of configs/alerts.yaml.
type alert struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func alerts(t *testing.T) (out []alert) {
	t.Helper()
	text, err := os.ReadFile("../configs/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string  `yaml:"name"`
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		if g.Name == "" || len(g.Rules) == 0 {
			t.Errorf("group %q has %d rules", g.Name, len(g.Rules))
		}
		out = append(out, g.Rules...)
	}
	return out
}

// TestAlertsAreWhole looks at what a parser of expressions does not.
func TestAlertsAreWhole(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, a := range alerts(t) {
		if !regexp.MustCompile(`^Geogate[A-Za-z]+$`).MatchString(a.Alert) || seen[a.Alert] {
			t.Errorf("name %q is odd, or there twice", a.Alert)
		}
		seen[a.Alert] = true
		if a.For != "" {
			if _, err := model.ParseDuration(a.For); err != nil {
				t.Errorf("%s: %v", a.Alert, err)
			}
		}
		if s := a.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity %q", a.Alert, s)
		}
		if a.Annotations["summary"] == "" || a.Annotations["action"] == "" {
			t.Errorf("%s: says not what is wrong, or not what to do", a.Alert)
		}
	}
}

// selected is what test/tools/promql says of an expression.
type selected struct {
	Error     string
	Type      string
	Selectors []struct {
		Name   string
		Labels map[string]string
	}
}

// TestAlertsSelectWhatThereIs parses every expression with Prometheus' parser, and looks for each of its series among
// those that nodes expose and a drill writes: a metric that was renamed would never alert again.
func TestAlertsSelectWhatThereIs(t *testing.T) {
	t.Parallel()
	rules := alerts(t)
	var expressions []string
	for _, a := range rules {
		expressions = append(expressions, a.Expr)
	}
	in, err := json.Marshal(expressions)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", "-C", "tools/promql", ".")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var parsed []selected
	if err := json.Unmarshal(text, &parsed); err != nil || len(parsed) != len(rules) {
		t.Fatalf("%d of %d: %v", len(parsed), len(rules), err)
	}
	for i, p := range parsed {
		if p.Error != "" || p.Type != "vector" || len(p.Selectors) == 0 {
			t.Errorf("%s: %q is a %q of %d metrics: %s", rules[i].Alert, rules[i].Expr, p.Type, len(p.Selectors), p.Error)
		}
	}
	if t.Failed() {
		return
	}
	c := cluster.Start(t, cluster.Options{Edit: func(top *configs.Topology) {
		oneHome(top)
		top.Keyspaces = append(top.Keyspaces, configs.Keyspace{
			Prefix: "/bounded/", MaxLag: configs.MaxLag{Age: time.Minute}, OnUnreachable: "degrade", Degrade: configs.Degrade{To: "ASYNC", MaxSeconds: 60},
		})
	}})
	eventuallyHome(t, c, "us-east")
	exposed := drillMetrics(t)
	c.Eventually(30*time.Second, "all that alerts are about to be exposed", func() string {
		for _, d := range c.Topology.Datacenters {
			scrape(t, c.Leader(d.Name), exposed)
		}
		return missing(rules, parsed, exposed)
	})
}

// missing is the first selector that selects nothing.
func missing(rules []alert, parsed []selected, exposed map[string][]*dto.Metric) string {
	for i, p := range parsed {
		for _, s := range p.Selectors {
			if !slices.ContainsFunc(exposed[s.Name], func(m *dto.Metric) bool { return hasLabels(m, s.Labels) }) {
				return fmt.Sprintf("%s: nothing is exposed as %s%v", rules[i].Alert, s.Name, s.Labels)
			}
		}
	}
	return ""
}

func hasLabels(m *dto.Metric, want map[string]string) bool {
	have := map[string]string{}
	for _, l := range m.Label {
		have[l.GetName()] = l.GetValue()
	}
	for name, value := range want {
		if have[name] != value {
			return false
		}
	}
	return true
}

// scrape adds what a node exposes.
func scrape(t *testing.T, p *cluster.Process, into map[string][]*dto.Metric) {
	t.Helper()
	resp, err := http.Get("http://" + p.Spec.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	read(t, resp.Body, into)
}

func read(t *testing.T, r io.Reader, into map[string][]*dto.Metric) {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(r)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range families {
		into[name] = append(into[name], f.Metric...)
	}
}

// drillMetrics are those of the file that a drill writes.
func drillMetrics(t *testing.T) map[string][]*dto.Metric {
	t.Helper()
	f := drill.Folder{Dir: t.TempDir()}
	if _, err := f.Save(&drill.Report{ID: "1", Scenario: "mine", Cluster: "shop", Passed: true}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(f.Dir, "metrics.prom")
	if err := f.WriteMetrics(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]*dto.Metric{}
	read(t, strings.NewReader(string(text)), out)
	return out
}
