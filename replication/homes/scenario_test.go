package homes

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files and the outcomes of the scenarios anew")

// A scenario is a text file of commands, each followed by "----" and what it printed. The commands:
//
//	datacenters a b c/witness   who votes; the first is home in epoch 1
//	apply b 7                   datacenter b has applied the chain of the first home up to 7
//	failover b                  start a move at b, with b as target; failover b c: with c
//	switchover a b              start a switchover at a to b
//	run b [a c]                 send what is due of the move at b to a and c (to all), deliver the answers, once
//	go b [a c]                  run until nothing more happens
//	fetched b, abort b          tell the move at b
//	crash b                     forget the move at b
//	learn a c                   a tells c what it knows to be decided
//	renew a c [lapsed]          a renews its lease at c
//	judge c a 1 7               what c does with the write 7 of a in epoch 1, and how far it may acknowledge
//	force b                     b opens without a majority
//	bar c, admit c 3            c lost its past; c may vote above epoch 3
//	state c                     the acceptor of c
type scenario struct {
	t       *testing.T
	voters  []Voter
	states  map[string]State
	applied map[string]int64
	moves   map[string]*Move
	out     strings.Builder
}

func (s *scenario) cfg(dc string) Config { return Config{Self: dc, Voters: s.voters} }

func named(dc string) Life { return Life{DC: dc, Incarnation: 1} }

func (s *scenario) marks(dc string) Marks {
	if slices.Contains(s.voters, Voter{DC: dc, Witness: true}) {
		return nil
	}
	return func(l Life) int64 {
		if l == named(s.voters[0].DC) {
			return s.applied[dc]
		}
		return 0
	}
}

func (s *scenario) printf(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

func (s *scenario) deliver(dc string, c Command) Reply {
	// Through bytes, as between real datacenters.
	c, err := DecodeCommand(c.Encode())
	if err != nil {
		s.t.Fatal(err)
	}
	next, r := s.states[dc].Apply(c, s.marks(dc))
	if s.states[dc], err = DecodeState(next.Encode()); err != nil {
		s.t.Fatal(err)
	}
	if r, err = DecodeReply(r.Encode()); err != nil {
		s.t.Fatal(err)
	}
	s.printf("%s: %s %s -> %s", dc, c.Kind, c.Ballot, s.tell(r))
	return r
}

func (s *scenario) tell(r Reply) string {
	text := r.Answer.String()
	switch r.Answer {
	case Promised:
		if r.Data {
			text += fmt.Sprintf(", has %d", r.Watermark)
		}
		if r.Vote.Value.Epoch > 0 {
			text += fmt.Sprintf(", voted %s for %s", r.Vote.Ballot, show(r.Vote.Value))
		}
	case Drained:
		text += fmt.Sprintf(" at %d", r.Watermark)
	case Refused:
		text += fmt.Sprintf(", promised %s", r.Promised)
	case Behind, Diverged:
		text += ", " + show(r.Decided)
	case Granted, Occupied:
		text += fmt.Sprintf(", lease %d of %s in epoch %d", r.Lease.Number, r.Lease.Holder.DC, r.Lease.Epoch)
	}
	return text
}

func show(v Value) string {
	if v.Epoch == 0 {
		return "none"
	}
	text := fmt.Sprintf("%s in epoch %d", v.Home.DC, v.Epoch)
	if v.Forced {
		text += " (forced)"
	}
	for _, t := range v.Past {
		text += fmt.Sprintf(", %s until %d in epoch %d", t.Home.DC, t.Cut, t.Epoch)
	}
	return text
}

func (s *scenario) where(dc string) {
	m := s.moves[dc]
	text := "move at " + dc + ": " + m.Phase().String()
	if v, ok := m.Decided(); ok {
		text += ": " + show(v)
	} else if m.Rival() != (Ballot{}) {
		text += " to " + m.Rival().String()
	}
	for _, n := range m.Needs() {
		text += fmt.Sprintf("; needs %s up to %d", n.Home.DC, n.Cut)
	}
	s.printf("%s", text)
}

// run sends once; it says whether anything happened.
func (s *scenario) run(dc string, to []string) bool {
	m := s.moves[dc]
	moved := false
	for _, d := range m.Due() {
		if len(to) > 0 && !slices.Contains(to, d.To) {
			continue
		}
		before := fmt.Sprintf("%#v", *m)
		m.Step(d.To, s.deliver(d.To, d.Command))
		moved = moved || before != fmt.Sprintf("%#v", *m)
	}
	return moved
}

func (s *scenario) exec(verb string, args []string) error {
	number := func(i int) int64 {
		n, err := strconv.ParseInt(args[i], 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		return n
	}
	switch verb {
	case "datacenters":
		for _, a := range args {
			dc, kind, _ := strings.Cut(a, "/")
			s.voters = append(s.voters, Voter{DC: dc, Witness: kind == "witness"})
		}
		for _, v := range s.voters {
			s.states[v.DC] = State{Decided: Value{Epoch: 1, Home: named(s.voters[0].DC)}}
		}
	case "apply":
		s.applied[args[0]] = number(1)
	case "failover", "switchover":
		plan := Plan{State: s.states[args[0]], Target: named(args[len(args)-1])}
		if m := s.moves[args[0]]; m != nil {
			plan.Rival = m.Rival()
		}
		m, err := NewFailover(s.cfg(args[0]), plan)
		if verb == "switchover" {
			m, err = NewSwitchover(s.cfg(args[0]), plan, named(args[0]))
		}
		if err != nil {
			return err
		}
		s.moves[args[0]] = m
	case "run":
		s.run(args[0], args[1:])
		s.where(args[0])
	case "go":
		for s.run(args[0], args[1:]) {
		}
		s.where(args[0])
	case "fetched":
		s.moves[args[0]].Fetched()
		s.where(args[0])
	case "abort":
		if err := s.moves[args[0]].Abort(); err != nil {
			return err
		}
		s.where(args[0])
	case "crash":
		delete(s.moves, args[0])
	case "learn":
		s.deliver(args[1], Command{Kind: Learn, Known: s.states[args[0]].Decided})
	default:
		return s.execState(verb, args, number)
	}
	return nil
}

func (s *scenario) execState(verb string, args []string, number func(int) int64) error {
	switch verb {
	case "renew":
		c := Command{Kind: Renew, Known: s.states[args[0]].Decided, Duration: 10}
		if len(args) > 2 {
			c.Lapsed = s.states[args[1]].Lease.Number
		}
		s.deliver(args[1], c)
	case "judge":
		w := Write{Epoch: uint64(number(2)), Home: named(args[1]), Revision: number(3)}
		text := s.states[args[0]].Judge(w, s.marks(args[0])).String()
		if limit, ok := s.states[args[0]].AckLimit(named(args[1]), 0); ok {
			text += fmt.Sprintf("; acknowledge up to %d", limit)
		}
		if over, ok := s.states[args[0]].Overrun(s.marks(args[0])); ok {
			text += fmt.Sprintf("; overrun: applied %d of %s, %d count", s.applied[args[0]], over.Home.DC, over.Cut)
		}
		s.printf("%s", text)
	case "force":
		c, err := Forced(s.states[args[0]].Decided, named(args[0]), s.marks(args[0]))
		if err != nil {
			return err
		}
		s.deliver(args[0], c)
	case "bar":
		s.deliver(args[0], Command{Kind: Bar, Duration: 10})
	case "admit":
		s.deliver(args[0], Command{Kind: Admit, UpTo: uint64(number(1))})
	case "state":
		st := s.states[args[0]]
		s.printf("%s; promised %s; writable %v; draining %v", show(st.Decided), st.Promised, st.Writable(named(args[0])), st.Draining)
	default:
		s.t.Fatalf("no command %q", verb)
	}
	return nil
}

func (s *scenario) replay(text string) string {
	var out strings.Builder
	skip := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "----":
			skip = true
		case line == "":
			if skip {
				skip = false
				continue
			}
			out.WriteString("\n")
		case skip:
		case strings.HasPrefix(line, "#"):
			out.WriteString(line + "\n")
		default:
			words := strings.Fields(line)
			s.out.Reset()
			if err := s.exec(words[0], words[1:]); err != nil {
				s.printf("error: %v", err)
			}
			out.WriteString(line + "\n----\n" + s.out.String() + "\n")
		}
	}
	return out.String()
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &scenario{t: t, states: map[string]State{}, applied: map[string]int64{}, moves: map[string]*Move{}}
			got := s.replay(string(b))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(b) {
				t.Errorf("the scenario went another way; run with -update and look at the difference\n%s", got)
			}
			for _, dc := range slices.Sorted(maps.Keys(s.states)) {
				for _, other := range s.states {
					if s.states[dc].Decided.diverges(other.Decided) {
						t.Errorf("%s: two decisions in one epoch", dc)
					}
				}
			}
		})
	}
}
