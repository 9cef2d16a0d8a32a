package drill

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// DefaultDir is where reports are kept.
	DefaultDir = ".geogate/drills"
	// DefaultReports is how many of them.
	DefaultReports = 500

	reportSuffix = ".json"
)

// Folder keeps reports, one file each. It may not be there yet.
type Folder struct {
	Dir     string
	Reports int // kept; the oldest are removed; 0 is DefaultReports
}

// Save adds a report and returns the path of its file.
func (f Folder) Save(r *Report) (string, error) {
	if err := os.MkdirAll(f.Dir, 0o750); err != nil {
		return "", fmt.Errorf("make the folder of the reports: %w", err)
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return "", fmt.Errorf("encode the report: %w", err)
	}
	path := filepath.Join(f.Dir, r.ID+reportSuffix)
	if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
		return "", fmt.Errorf("write the report: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return "", fmt.Errorf("write the report: %w", err)
	}
	return path, f.trim()
}

// trim removes the oldest reports.
func (f Folder) trim() error {
	ids, err := f.ids()
	keep := f.Reports
	if keep == 0 {
		keep = DefaultReports
	}
	if err != nil || len(ids) <= keep {
		return err
	}
	for _, id := range ids[keep:] {
		if err := os.Remove(filepath.Join(f.Dir, id+reportSuffix)); err != nil {
			return fmt.Errorf("remove an old report: %w", err)
		}
	}
	return nil
}

// ids are those of all reports, newest first: they begin with the time.
func (f Folder) ids() ([]string, error) {
	entries, err := os.ReadDir(f.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the reports: %w", err)
	}
	var out []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), reportSuffix); ok {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out, nil
}

// Load reads a report by its id, or the newest for "last".
func (f Folder) Load(id string) (*Report, error) {
	ids, err := f.ids()
	if err != nil {
		return nil, err
	}
	if id == "last" && len(ids) > 0 {
		id = ids[0]
	}
	if !slices.Contains(ids, id) {
		return nil, fmt.Errorf("drill %q %w in %s, which has %d reports; `geogate dr drill list` lists them", id, ErrNotFound, f.Dir, len(ids))
	}
	var r Report
	return &r, f.read(id, &r)
}

func (f Folder) read(id string, into any) error {
	data, err := os.ReadFile(filepath.Join(f.Dir, id+reportSuffix))
	if err != nil {
		return fmt.Errorf("read a report: %w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s is not a report of a drill, or damaged; move it away: %w", filepath.Join(f.Dir, id+reportSuffix), err)
	}
	return nil
}

// list reads all reports, newest first, without what is long.
func (f Folder) list() ([]brief, error) {
	ids, err := f.ids()
	if err != nil {
		return nil, err
	}
	out := make([]brief, 0, len(ids))
	for _, id := range ids {
		var b brief
		if err := f.read(id, &b); err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// brief is a report as lists and metrics need it.
type brief struct {
	ID               string    `json:"id"`
	Scenario         string    `json:"scenario"`
	Cluster          string    `json:"cluster"`
	Passed           bool      `json:"passed"`
	Started          time.Time `json:"started"`
	Ended            time.Time `json:"ended"`
	Detect           *float64  `json:"detect_seconds"`
	RTO              *float64  `json:"rto_seconds"`
	WritePause       float64   `json:"write_pause_seconds"`
	AcknowledgedLost *int      `json:"acknowledged_lost"`
}

// List is what `geogate dr drill list` prints.
type List struct {
	Drills []Summary `json:"drills"` // newest first
	// LastSuccess is how long ago the newest drill that passed has ended; nil when none did.
	LastSuccess *float64 `json:"last_successful_drill_age_seconds"`
}

// List lists all reports.
func (f Folder) List(now time.Time) (*List, error) {
	all, err := f.list()
	if err != nil {
		return nil, err
	}
	out := &List{Drills: []Summary{}}
	for _, b := range all {
		out.Drills = append(out.Drills, Summary{b.ID, b.Scenario, b.Cluster, b.Started, seconds(b.Ended.Sub(b.Started)), b.Passed})
		if b.Passed && out.LastSuccess == nil {
			age := seconds(now.Sub(b.Ended))
			out.LastSuccess = &age
		}
	}
	return out, nil
}

// Last is the newest drill; nil without one.
func (l *List) Last() *Summary {
	if len(l.Drills) == 0 {
		return nil
	}
	return &l.Drills[0]
}

// Age is how long ago the drill has ended.
func (s *Summary) Age(now time.Time) time.Duration {
	return now.Sub(s.Started.Add(time.Duration(max(0, s.Seconds) * float64(time.Second))))
}

// String is the drill in a line.
func (s *Summary) String() string {
	return fmt.Sprintf("%s of %s, %s: %s", s.Scenario, s.Cluster, s.Started.UTC().Format(time.RFC3339), verdict(s.Passed))
}

// Rows is the list as a table.
func (l *List) Rows() [][]string {
	out := [][]string{{"ID", "SCENARIO", "CLUSTER", "STARTED", "TOOK", "RESULT"}}
	for _, s := range l.Drills {
		out = append(out, []string{s.ID, s.Scenario, s.Cluster, s.Started.UTC().Format(time.RFC3339), fmt.Sprintf("%.0fs", s.Seconds), verdict(s.Passed)})
	}
	return out
}
