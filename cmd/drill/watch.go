package drill

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"geogate/cmd/dr"
	"geogate/cmd/status"
	"geogate/gateway/admin"
	"geogate/replication"
)

const (
	watchInterval = 100 * time.Millisecond // between two looks at a datacenter
	maxEvents     = 2000                   // of a report
)

// Event is something that happened.
type Event struct {
	At   float64 `json:"at_seconds"` // since the load began
	Text string  `json:"text"`
}

// watch keeps an eye on what the datacenters say of each other. It is safe for concurrent use.
type watch struct {
	book  *book
	tell  func(string)
	homes bool   // whether the cluster has homes to look at
	keys  string // the keyspace

	mu      sync.Mutex
	reports []*status.Report // by datacenter; nil while it does not answer
	home    string
	events  []Event
}

// note keeps an event and tells it.
func (w *watch) note(format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	w.tell(text)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) < maxEvents {
		w.events = append(w.events, Event{seconds(time.Since(w.book.start)), text})
	}
}

// run looks at one datacenter until ctx ends.
func (w *watch) run(ctx context.Context, i int, s *site) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	told := map[string]string{}
	for {
		w.look(ctx, i, s, told)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *watch) look(ctx context.Context, i int, s *site, told map[string]string) {
	r, err := s.report(ctx)
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	w.reports[i] = r // nil with an error
	w.mu.Unlock()
	if err != nil {
		return
	}
	now := time.Now()
	for _, p := range r.Peers {
		w.book.health(now, s.name, p.DC, p.Health)
		if before, known := told[p.DC]; known && before != p.Health {
			w.note("to %s, %s is %s (%s)", s.name, p.DC, p.Health, p.Reason)
		}
		told[p.DC] = p.Health
	}
	if !w.homes {
		return
	}
	k, err := s.keyspace(ctx, w.keys)
	if err != nil || !k.Open {
		return
	}
	w.mu.Lock()
	before := w.home
	w.home = s.name
	w.mu.Unlock()
	if before != s.name && before != "" {
		w.note("%s is the home, epoch %d", s.name, k.Epoch)
	}
}

// report is the last one of a datacenter; nil when it does not answer.
func (w *watch) report(dc string) *status.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reports[slices.Index(w.book.dcs, dc)]
}

// keyspace is a datacenter's view of a single-writer keyspace.
func (s *site) keyspace(ctx context.Context, keyspace string) (*replication.HomeStatus, error) {
	r, err := s.homes(ctx)
	if err != nil {
		return nil, err
	}
	for i := range r.Keyspaces {
		if r.Keyspaces[i].Keyspace == keyspace {
			return &r.Keyspaces[i], nil
		}
	}
	return nil, fmt.Errorf("%s knows no single-writer keyspace %q; `geogate dr status` lists them", s.name, keyspace)
}

func (s *site) homes(ctx context.Context) (*admin.HomesReport, error) {
	var last error
	for _, a := range s.admins {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		r, err := dr.Client{Endpoint: a}.Status(ctx)
		cancel()
		if err == nil {
			return r, nil
		}
		last = err
	}
	return nil, fmt.Errorf("the homes of %s are not known: %w", s.name, last)
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
