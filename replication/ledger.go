package replication

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"geogate/replication/event"
	"geogate/replication/homes"
	"geogate/replication/registrar"
)

// Ledger is what a failover to this DC would lose, as far as it is known here: writes of the home that no other DC is
// known to have. A nil pointer is unknown.
type Ledger struct {
	Keyspace string `json:"keyspace"`
	Home     string `json:"home"`
	Epoch    uint64 `json:"epoch"`
	To       string `json:"to"`
	Forced   bool   `json:"forced"`
	// Reached are the DCs that were heard from lately, this one included, of Needed that must take part.
	Reached []string `json:"reached"`
	Needed  int      `json:"needed"`
	// Kept is the revision of the home up to which its writes would count; Head the last one that the home is known
	// to have committed, and HeadAge when it said so.
	Kept    int64    `json:"kept_revision"`
	KeptBy  string   `json:"kept_by"`
	Head    *int64   `json:"head_revision"`
	HeadAge *float64 `json:"head_age_seconds"`
	// AtMost bounds the transactions, of all keyspaces, that would be lost of those that are known of. The others are
	// exact and of this keyspace, and known only while the home answers.
	AtMost *int64   `json:"lost_at_most_txns"`
	Txns   *int64   `json:"lost_txns"`
	Bytes  *int64   `json:"lost_bytes"`
	Oldest *float64 `json:"lost_oldest_seconds"`
	Keys   []string `json:"sample_keys,omitempty"` // of the keyspace, that would be lost
	Notes  []string `json:"notes,omitempty"`
}

// sampleKeys is how many keys a ledger names.
const sampleKeys = 10

// Ledger says what a failover of a keyspace to this DC would lose. It changes nothing.
func (e *Engine) Ledger(ctx context.Context, keyspace string, forced bool) (Ledger, error) {
	l := e.current.Load()
	if l == nil {
		return Ledger{}, ErrNotLeading
	}
	if l.registrar == nil || !l.hasKeyspace(keyspace) {
		return Ledger{}, fmt.Errorf("%w: %q", registrar.ErrKeyspace, keyspace)
	}
	reg, _ := e.cfg.Homes.Register(keyspace)
	home := reg.State.Decided.Home
	c := homes.Config{Self: e.cfg.Local, Voters: e.voters()}
	out := Ledger{
		Keyspace: keyspace, Home: home.DC, Epoch: reg.State.Decided.Epoch, To: e.cfg.Local, Forced: forced, Needed: c.Majority(),
		Reached: []string{e.cfg.Local}, Kept: e.cfg.Homes.AppliedOf(home), KeptBy: e.cfg.Local,
	}
	now := e.cfg.Clock()
	for _, name := range l.order {
		p := l.peers[name]
		if ack, _ := l.contacts(p, now); ack == nil || *ack > l.silence() {
			continue
		}
		out.Reached = append(out.Reached, name)
		if at, known := l.AppliedAt(name, home); known && !p.witness && name != home.DC && at > out.Kept && !forced {
			out.Kept, out.KeptBy = at, name
		}
	}
	if len(out.Reached) < out.Needed && !forced {
		out.Notes = append(out.Notes, fmt.Sprintf("a failover needs %d datacenters and %d are heard from: it would wait; --force does without, and loses more", out.Needed, len(out.Reached)))
	}
	if home.DC == e.cfg.Local || home.DC == "" {
		out.Notes = append(out.Notes, "nothing is lost: this datacenter is the home, or there is none yet")
		return out, nil
	}
	l.addHead(ctx, &out, home, now)
	return out, nil
}

// addHead fills in what is known of the home's own chain.
func (l *lead) addHead(ctx context.Context, out *Ledger, home homes.Life, now time.Time) {
	p := l.peers[home.DC]
	if p == nil {
		return
	}
	p.receiver.mu.Lock()
	head, heard := p.receiver.status.head, p.receiver.status.heard
	p.receiver.mu.Unlock()
	if head != nil {
		out.Head, out.HeadAge = new(max(*head, out.Kept)), seconds(now.Sub(heard)) // frames may tell more than pings
		out.AtMost = new(*out.Head - out.Kept)
	}
	b, err := l.backlogThere(ctx, home.DC, backlogQuery{Keyspace: out.Keyspace, After: out.Kept})
	if err != nil {
		out.Notes = append(out.Notes, fmt.Sprintf("%s can't be asked: %v. What it has committed since it was last heard from is unknown, and lost", home.DC, err))
		return
	}
	out.Notes = append(out.Notes, home.DC+" answers: a switchover would lose nothing")
	switch {
	case b.More:
		out.Notes = append(out.Notes, fmt.Sprintf("%s has more than was counted: at least %d transactions, %d bytes", home.DC, b.Txns, b.Bytes))
		out.Keys = b.Keys
		return
	case !b.Own:
		out.Notes = append(out.Notes, home.DC+" is of an older build, which counts the transactions of all keyspaces")
	}
	out.Txns, out.Bytes, out.Keys = &b.Txns, &b.Bytes, b.Keys
	if b.Txns == 0 {
		out.Oldest = new(float64)
	} else {
		out.Oldest = &b.Oldest
	}
}

// backlogQuery asks a home for what it has behind a revision.
type backlogQuery struct {
	Keyspace string `json:"keyspace"`
	After    int64  `json:"after"`
}

type backlogAnswer struct {
	Txns   int64    `json:"txns"`
	Bytes  int64    `json:"bytes"` // of their keys and values
	Oldest float64  `json:"oldest_seconds"`
	Keys   []string `json:"keys"`
	Own    bool     `json:"own,omitempty"`  // only the keyspace's own transactions are counted
	More   bool     `json:"more,omitempty"` // there are more frames than were looked at
}

// maxBacklogBytes bounds the frames that one ledger looks at.
const maxBacklogBytes = 64 << 20

const backlogTimeout = 3 * time.Second

func (l *lead) backlogThere(ctx context.Context, dc string, q backlogQuery) (b backlogAnswer, err error) {
	ctx, cancel := context.WithTimeout(ctx, backlogTimeout)
	defer cancel()
	err = l.ask(ctx, dc, methodBacklog, q, &b)
	return b, err
}

// backlogHere answers another DC's ledger: what this DC, as the home, has written of the keyspace. Another keyspace
// within its prefix does not count.
func (e *Engine) backlogHere(ctx context.Context, q backlogQuery) (backlogAnswer, error) {
	out := backlogAnswer{Own: true}
	for after, read := q.After, 0; ; {
		frames, err := e.cfg.Chain.Frames(e.cfg.Local, after, e.cfg.ReadBytes)
		if err != nil {
			return backlogAnswer{}, fmt.Errorf("what is behind %d here: %w", q.After, err)
		}
		if len(frames) == 0 {
			return out, nil
		}
		if out.More = read >= maxBacklogBytes || ctx.Err() != nil; out.More {
			return out, nil
		}
		for i := range frames {
			if err := e.addBacklog(&out, &frames[i], q.Keyspace); err != nil {
				return backlogAnswer{}, err
			}
			read += len(frames[i].Bytes)
			after = frames[i].Last
		}
	}
}

// addBacklog counts the keyspace's transactions of one frame.
func (e *Engine) addBacklog(out *backlogAnswer, s *event.Sealed, keyspace string) error {
	f, _, err := event.Open(s.Bytes)
	if err != nil {
		return fmt.Errorf("frame of %d: %w", s.Last, err)
	}
	for i := range f.Txns {
		t := &f.Txns[i]
		if t.Home == nil || t.Home.Keyspace != keyspace {
			continue
		}
		if out.Txns == 0 {
			out.Oldest = max(0, e.cfg.Wall().Sub(t.Stamp.Time()).Seconds())
		}
		out.Txns++
		for _, op := range t.Ops {
			out.Bytes += int64(len(op.Key) + len(op.Value))
			if len(out.Keys) < sampleKeys {
				out.Keys = append(out.Keys, string(op.Key))
			}
		}
	}
	return nil
}

// Methods of calls that engines answer themselves.
const (
	internalMethods  = "geogate.internal/"
	methodBacklog    = internalMethods + "backlog"
	methodSwitchover = internalMethods + "switchover"
	methodMoves      = internalMethods + "moves"
	methodAside      = internalMethods + "aside"
)

// ask has another DC's engine answer a question in JSON.
func (l *lead) ask(ctx context.Context, dc, method string, q, into any) error {
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	r, err := l.Call(ctx, dc, Request{Method: method, Body: body})
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("%s: %s", dc, r.Message)
	}
	if err := json.Unmarshal(r.Body, into); err != nil {
		return fmt.Errorf("the answer of %s can't be read: %w", dc, err)
	}
	return nil
}

// serveInternal answers a call that is the engine's own.
func (l *lead) serveInternal(ctx context.Context, r Request) Reply {
	answer, err := l.internal(ctx, r)
	if err != nil {
		return Reply{Code: codeFailedPrecondition, Message: err.Error()}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return Reply{Code: codeFailedPrecondition, Message: err.Error()}
	}
	return Reply{Body: body}
}

// codeFailedPrecondition is gRPC's.
const codeFailedPrecondition = 9

func (l *lead) internal(ctx context.Context, r Request) (any, error) {
	switch r.Method {
	case methodBacklog:
		var q backlogQuery
		if err := json.Unmarshal(r.Body, &q); err != nil {
			return nil, fmt.Errorf("question can't be read: %w", err)
		}
		return l.backlogHere(ctx, q)
	case methodAside:
		return l.asideHere()
	case methodSwitchover, methodMoves:
		var q SwitchoverRequest
		if err := json.Unmarshal(r.Body, &q); err != nil {
			return nil, fmt.Errorf("question can't be read: %w", err)
		}
		if r.Method == methodMoves {
			if l.registrar == nil {
				return nil, registrar.ErrKeyspace
			}
			return l.registrar.Moves(q.Keyspace), nil
		}
		return l.switchHere(q)
	}
	return nil, fmt.Errorf("%s does not know what is asked for: it is of an older version", l.cfg.Local)
}
