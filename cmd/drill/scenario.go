package drill

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Scenario is what a drill does and what it must meet. README.md is its reference.
type Scenario struct {
	Name        string        `yaml:"name"`
	Description string        `yaml:"description"`
	Prefix      string        `yaml:"prefix"` // of the probes' keys; its keyspace is the one that moves
	Load        Load          `yaml:"load"`
	TimeLimit   time.Duration `yaml:"time_limit"` // of the steps together
	StepLimit   time.Duration `yaml:"step_limit"` // of one step that waits for something
	AbortFactor int           `yaml:"abort_factor"`
	Steps       []Step        `yaml:"steps"`
	Objectives  Objectives    `yaml:"objectives"`
}

// Load is what the probes do in each datacenter.
type Load struct {
	Writers int           `yaml:"writers" json:"writers"`    // clients that write
	Readers int           `yaml:"readers" json:"readers"`    // clients that look for other datacenters' writes
	Rate    int           `yaml:"rate" json:"rate"`          // writes a second, of all its writers together
	Policy  string        `yaml:"policy" json:"policy"`      // "" is the keyspace's
	Timeout time.Duration `yaml:"timeout" json:"timeout_ns"` // of one write
}

// Step does one thing: exactly one of its fields is set.
type Step struct {
	Switchover Move          `yaml:"switchover"`
	Failover   Move          `yaml:"failover"`
	Stop       string        `yaml:"stop"`
	Kill       string        `yaml:"kill"`
	Start      string        `yaml:"start"`
	Cut        Pair          `yaml:"cut"`
	Link       Link          `yaml:"link"`
	Heal       string        `yaml:"heal"`
	Wait       time.Duration `yaml:"wait"`
	WaitFor    string        `yaml:"wait_for"`
	Verify     string        `yaml:"verify"`
}

// Move is where a home goes.
type Move struct {
	To string `yaml:"to"`
}

// Pair is a link between two datacenters.
type Pair struct {
	A string `yaml:"a"`
	B string `yaml:"b"`
}

// Link is a change of a link; what is nil stays.
type Link struct {
	A         string         `yaml:"a"`
	B         string         `yaml:"b"`
	RTT       *time.Duration `yaml:"rtt"`
	Bandwidth string         `yaml:"bandwidth"` // a second, such as 1MB; 0 is no limit
	Loss      string         `yaml:"loss"`
}

// Objectives are the bounds that a drill must meet; nil is none, but for the lost writes, where nil is 0.
type Objectives struct {
	WritePause       *time.Duration `yaml:"write_pause"`
	ErrorWindow      *time.Duration `yaml:"error_window"`
	Detect           *time.Duration `yaml:"detect"`
	RTO              *time.Duration `yaml:"rto"`
	StaleReads       *time.Duration `yaml:"stale_reads"`
	AcknowledgedLost *int           `yaml:"acknowledged_lost"`
	AtRisk           *int           `yaml:"at_risk"`
}

// What wait_for waits for.
const (
	untilHealthy   = "healthy"   // every running datacenter holds every other one to be healthy
	untilDetected  = "detected"  // the last fault has been noticed
	untilHome      = "home"      // the keyspace has a home that takes writes
	untilConverged = "converged" // what is acknowledged now has been applied everywhere
)

// Words of steps that have nothing to say but yes.
const (
	healAll      = "all"
	verifyDigest = "digest"
)

// Bounds of a scenario.
const (
	maxTimeLimit = time.Hour
	maxProbes    = 64      // writers, and readers, of a datacenter
	maxRate      = 2000    // writes a second in a datacenter
	maxSteps     = 200     //
	maxWrites    = 500_000 // that a drill may remember, some 100 MB
	maxFactor    = 1000
	probeTimeout = 5 * time.Second
)

// defaults are the settings that a scenario may leave out.
func defaults() Scenario {
	return Scenario{
		Prefix:    "/geogate.drill/",
		Load:      Load{Writers: 4, Readers: 1, Rate: 40, Timeout: probeTimeout},
		TimeLimit: 3 * time.Minute, StepLimit: time.Minute, AbortFactor: 5,
	}
}

// kind is the key of the field that is set.
func (s *Step) kind() string {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			return v.Type().Field(i).Tag.Get("yaml")
		}
	}
	return ""
}

// count is how many fields are set.
func (s *Step) count() (n int) {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			n++
		}
	}
	return n
}

// String is the step as a report names it.
func (s *Step) String() string {
	switch s.kind() {
	case "switchover":
		return "switchover to " + s.Switchover.To
	case "failover":
		return "failover to " + s.Failover.To
	case "cut":
		return "cut " + s.Cut.A + " " + s.Cut.B
	case "link":
		return strings.Join(append([]string{"link", s.Link.A, s.Link.B}, s.Link.words()...), " ")
	case "heal":
		return "heal"
	case "wait":
		return "wait " + s.Wait.String()
	case "wait_for":
		return "wait for " + s.WaitFor
	case "verify":
		return "verify"
	}
	return s.kind() + " " + cmp.Or(s.Stop, s.Kill, s.Start)
}

// words are those of dev's change of a link.
func (l *Link) words() (out []string) {
	if l.RTT != nil {
		out = append(out, "rtt="+l.RTT.String())
	}
	if l.Bandwidth != "" {
		out = append(out, "bandwidth="+l.Bandwidth)
	}
	return out
}

// needsDev says whether only a dev cluster can do the step.
func (s *Step) needsDev() bool {
	switch s.kind() {
	case "stop", "kill", "start", "cut", "link", "heal":
		return true
	}
	return false
}

// movesHome says whether the step needs a single-writer keyspace.
func (s *Step) movesHome() bool {
	k := s.kind()
	return k == "switchover" || k == "failover"
}

// names are the places for the names of datacenters in the step.
func (s *Step) names() []*string {
	var out []*string
	for _, p := range []*string{
		&s.Switchover.To, &s.Failover.To, &s.Stop, &s.Kill, &s.Start, &s.Cut.A, &s.Cut.B, &s.Link.A, &s.Link.B,
	} {
		if *p != "" {
			out = append(out, p)
		}
	}
	return out
}

// resolve puts the names of datacenters in the place of $1, $2, ..., $last, $home and $next.
func (s *Scenario) resolve(dcs []string, home string) error {
	for i := range s.Steps {
		for _, p := range s.Steps[i].names() {
			name, err := resolve(*p, dcs, home)
			if err != nil {
				return fmt.Errorf("%w: steps[%d]: %w", ErrScenario, i, err)
			}
			*p = name
		}
		if c := s.Steps[i].Cut; c != (Pair{}) && c.A == c.B {
			return fmt.Errorf("%w: steps[%d]: %s has no link to itself", ErrScenario, i, c.A)
		}
	}
	return nil
}

func resolve(word string, dcs []string, home string) (string, error) {
	if !strings.HasPrefix(word, "$") {
		for _, d := range dcs {
			if d == word {
				return word, nil
			}
		}
		return "", fmt.Errorf("the cluster has no datacenter %q with data; there are: %s", word, strings.Join(dcs, ", "))
	}
	switch word {
	case "$last":
		return dcs[len(dcs)-1], nil
	case "$home":
		if home == "" {
			return "", fmt.Errorf("$home is the home of a single-writer keyspace, and the prefix lies in none that has a home")
		}
		return home, nil
	case "$next":
		for _, d := range dcs {
			if d != home {
				return d, nil
			}
		}
		return "", fmt.Errorf("$next is a datacenter that is not the home, and the cluster has only %s", strings.Join(dcs, ", "))
	}
	var n int
	if _, err := fmt.Sscanf(word, "$%d", &n); err != nil || n < 1 || fmt.Sprintf("$%d", n) != word {
		return "", fmt.Errorf("found %q, want the name of a datacenter, $1, $2 and so on, $last, $home or $next", word)
	}
	if n > len(dcs) {
		return "", fmt.Errorf("%s is datacenter number %d, and the cluster has %d with data: %s", word, n, len(dcs), strings.Join(dcs, ", "))
	}
	return dcs[n-1], nil
}
