package registrar

import "time"

// Status is the state of a keyspace's register at this datacenter.
type Status struct {
	Keyspace    string   `json:"keyspace"`
	Home        string   `json:"home"` // empty in epoch 0
	Incarnation string   `json:"home_life,omitempty"`
	Epoch       uint64   `json:"epoch"`
	Forced      bool     `json:"forced,omitempty"` // by an operator, and not confirmed by a majority yet
	Open        bool     `json:"open"`             // this datacenter is home and takes writes
	Reading     bool     `json:"reading"`
	Why         string   `json:"why,omitempty"` // not
	Lease       *float64 `json:"lease_seconds"` // how much longer the home holds it; nil where none is held or known
	Fenced      string   `json:"fenced,omitempty"`
	Draining    bool     `json:"draining,omitempty"`
	Barred      bool     `json:"barred,omitempty"`     // this acceptor is new or lost its past, and does not vote yet
	BarredWhy   string   `json:"barred_why,omitempty"` // and what it waits for
	Diverged    string   `json:"diverged,omitempty"`
	// Automatic says that this datacenter may start a failover by itself; HoldOffUntil until when it does not, because the
	// home has just moved; nil for no such time.
	Automatic    bool       `json:"automatic_failover"`
	HoldOffUntil *time.Time `json:"hold_off_until"`
	Past         []Past     `json:"past,omitempty"` // earlier epochs whose writes some datacenter may lack
}

// Past is an earlier tenure.
type Past struct {
	Epoch uint64 `json:"epoch"`
	Home  string `json:"home"`
	Cut   int64  `json:"cut"`
	Have  int64  `json:"have"` // applied here
}

// Status is the state of a keyspace at this moment.
func (r *Registrar) Status(keyspace string) Status {
	k := r.keepers[keyspace]
	if k == nil {
		return Status{Keyspace: keyspace, Why: r.Standing(keyspace).Why}
	}
	reg, s := k.register(), k.standing()
	v := reg.State.Decided
	out := Status{
		Keyspace: keyspace, Home: v.Home.DC, Epoch: v.Epoch, Forced: v.Forced, Open: s.Here, Reading: s.Reading, Why: s.Why,
		Draining: reg.State.Draining, Barred: reg.State.Barred > v.Epoch,
	}
	if v.Epoch > 0 {
		out.Incarnation = v.Home.String()
	}
	if reg.State.Fenced() {
		out.Fenced = "by ballot " + reg.State.Promised.String()
		if reg.State.Vote.Value.Epoch != 0 {
			out.Fenced += ", voted for " + reg.State.Vote.Value.Home.DC
		}
	}
	if !s.Until.IsZero() {
		left := s.Until.Sub(r.cfg.Clock()).Seconds()
		out.Lease = &left
	}
	for _, t := range v.Past {
		out.Past = append(out.Past, Past{Epoch: t.Epoch, Home: t.Home.DC, Cut: t.Cut, Have: r.cfg.Acceptor.AppliedOf(t.Home)})
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	out.Diverged = k.diverged
	if out.Barred {
		out.BarredWhy = k.back.why
	}
	out.Automatic = k.cfg.Automatic && r.cfg.holdsData(r.cfg.Local)
	if until := k.heldOffLocked(r.cfg.Clock()); out.Automatic && !until.IsZero() {
		out.HoldOffUntil = &until
	}
	return out
}
