package drill

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBuiltinScenariosParse(t *testing.T) {
	want := []string{"cut-link", "lose-dc", "lose-home", "slow-link", "switchover-and-back"}
	if got := Builtin(); !slices.Equal(got, want) {
		t.Fatalf("built in are %v, want %v", got, want)
	}
	for _, name := range Builtin() {
		s, err := Find(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.Name != name || s.Description == "" {
			t.Errorf("%s.yaml has the name %q and says %q", name, s.Name, s.Description)
		}
		if err := s.fits(5); err != nil {
			t.Errorf("%s in five datacenters: %v", name, err)
		}
		if err := s.resolve([]string{"a", "b", "c"}, "b"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestScenarioProblemsNameTheLine(t *testing.T) {
	head := "name: x\nsteps:\n"
	for name, c := range map[string]struct{ text, want string }{
		"unknown key":     {"name: x\nstepps:\n  - wait: 1s\n", `s.yaml:2: stepps: unknown key; did you mean "steps"?`},
		"unknown in step": {head + "  - klil: a\n", `s.yaml:3: steps[0].klil: unknown key; did you mean "kill"?`},
		"no steps":        {"name: x\n", "steps: has 0 steps, want 1 to 200"},
		"two in a step":   {head + "  - {kill: a, wait: 1s}\n", "s.yaml:3: steps[0]: does 2 things; make a step of each"},
		"nothing":         {head + "  - {}\n", "s.yaml:3: steps[0]: does nothing; a step has one of the keys switchover"},
		"no duration":     {head + "  - wait: 5\n", `s.yaml:3: steps[0].wait: found "5", want a duration`},
		"wait for what":   {head + "  - wait: 1s\n  - wait_for: godot\n", `s.yaml:4: steps[1].wait_for: found "godot", want one of healthy, detected, home, converged`},
		"one end":         {head + "  - cut: {a: us}\n", `s.yaml:3: steps[0].cut: found a: "us" and b: "", want two datacenters`},
		"loss":            {head + "  - link: {a: x, b: y, loss: 1%}\n", "s.yaml:3: steps[0].link.loss: can't be had"},
		"no change":       {head + "  - link: {a: x, b: y}\n", "s.yaml:3: steps[0].link: no change"},
		"bandwidth":       {head + "  - link: {a: x, b: y, bandwidth: fast}\n", "s.yaml:3: steps[0].link: \"bandwidth=fast\""},
		"policy":          {"name: x\nload: {policy: most}\nsteps: [{wait: 1s}]\n", `s.yaml:2: load.policy: found "most", want ALL, QUORUM, ANY or ASYNC`},
		"rate":            {"name: x\nload: {rate: 0}\nsteps: [{wait: 1s}]\n", "s.yaml:2: load.rate: is 0, want 1 to 2000"},
		"name":            {"name: ../x\nsteps: [{wait: 1s}]\n", `s.yaml:1: name: is "../x"; use letters`},
		"objective":       {"name: x\nsteps: [{wait: 1s}]\nobjectives: {rto: -1s}\n", "s.yaml:3: objectives.rto: is -1s, want 0 or more"},
		"time limit":      {"name: x\ntime_limit: 2h\nsteps: [{wait: 1s}]\n", "s.yaml:2: time_limit: is 2h0m0s, want more than 0 and at most 1h"},
		"a list":          {"- wait: 1s\n", "s.yaml:1: found a list, want keys such as name, description"},
		"empty":           {"", "s.yaml: the file is empty; a scenario has the keys name"},
		"not yaml":        {"name: [x\n", "not YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("s.yaml", []byte(c.text))
			if !errors.Is(err, ErrScenario) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestScenarioDefaultsAndFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(file, []byte("name: mine\nload: {policy: quorum}\nsteps:\n  - link: {a: x, b: y, rtt: 80ms, bandwidth: 1MB}\n  - verify: digest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Find(file)
	if err != nil {
		t.Fatal(err)
	}
	if s.Load != (Load{Writers: 4, Readers: 1, Rate: 40, Policy: "QUORUM", Timeout: 5 * time.Second}) || s.Prefix != "/geogate.drill/" || s.TimeLimit != 3*time.Minute {
		t.Errorf("got %+v", s)
	}
	if got := s.Steps[0].String(); got != "link x y rtt=80ms bandwidth=1MB" {
		t.Errorf("step is named %q", got)
	}
	if _, err := Find("nothing"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "built in are: cut-link") {
		t.Errorf("got %v", err)
	}
}

func TestResolveDatacenters(t *testing.T) {
	dcs := []string{"us-east", "eu-west", "ap-south"}
	for word, want := range map[string]string{
		"$1": "us-east", "$3": "ap-south", "$last": "ap-south", "$home": "us-east", "$next": "eu-west", "eu-west": "eu-west",
	} {
		if got, err := resolve(word, dcs, "us-east"); got != want || err != nil {
			t.Errorf("%s is %q, %v, want %q", word, got, err, want)
		}
	}
	for word, want := range map[string]string{
		"$4":    "datacenter number 4, and the cluster has 3 with data",
		"$0":    "want the name of a datacenter",
		"$1x":   "want the name of a datacenter",
		"mars":  `no datacenter "mars" with data; there are: us-east`,
		"$home": "lies in none that has a home",
	} {
		if got, err := resolve(word, dcs, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is %q, %v, want %q", word, got, err, want)
		}
	}
	s := Scenario{Steps: []Step{{Cut: Pair{"$1", "us-east"}}}}
	if err := s.resolve(dcs, ""); !errors.Is(err, ErrScenario) || !strings.Contains(err.Error(), "no link to itself") {
		t.Errorf("a link to itself: %v", err)
	}
}

func TestMemoryIsBoundedBeforeADrillBegins(t *testing.T) {
	s := defaults()
	s.Load.Rate, s.TimeLimit = maxRate, maxTimeLimit
	if err := s.fits(3); !errors.Is(err, ErrScenario) || !strings.Contains(err.Error(), "lower load.rate or time_limit") {
		t.Errorf("got %v", err)
	}
}
