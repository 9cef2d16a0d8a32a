package dr

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"geogate/gateway/admin"
	"geogate/replication"
	"geogate/replication/registrar"
)

const unknown = "?"

// StatusRows is the table of `geogate dr status`.
func StatusRows(r *admin.HomesReport) [][]string {
	out := [][]string{{"KEYSPACE", "HOME", "EPOCH", "LEASE", "PEER", "HEALTH", "LAG", "BYTES", "AGE", "STATE"}}
	for _, k := range r.Keyspaces {
		lease, state := unknown, "open: writes are taken here"
		if k.Lease != nil {
			lease = fmt.Sprintf("%.1fs", *k.Lease)
		}
		if !k.Open {
			state = k.Why
		}
		if k.Fenced != "" && k.Home != r.DC {
			state += "; a move is open here " + k.Fenced + ": the home gets no lease from this datacenter until it is decided"
		}
		var more []string
		if k.Barred {
			more = append(more, fmt.Sprintf("%s is new here or lost its data: no vote, and its acks to %s don't count, until it has caught up: %s", r.DC, orNone(k.Home), k.BarredWhy))
		}
		if n := len(k.Moves); n > 0 {
			switch m := k.Moves[n-1]; m.Result {
			case "":
				state = describe(m)
			case "moved":
			default:
				more = append(more, fmt.Sprintf("last move: %s to %s, %s at %s: %s", m.Kind, m.To, outcome(m), m.Ended.UTC().Format(time.TimeOnly), m.Error))
			}
		}
		if k.HoldOffUntil != nil {
			more = append(more, fmt.Sprintf("the home has just moved: %s starts no automatic failover until %s", r.DC, k.HoldOffUntil.UTC().Format(time.DateTime)))
		}
		name, home, epoch := strconv.Quote(k.Keyspace), orNone(k.Home), strconv.FormatUint(k.Epoch, 10)
		if k.Forced {
			epoch += " (forced)"
		}
		notes := append([]string{state}, more...)
		for _, p := range k.Peers {
			lag := []string{p.DC, p.Health, num(p.Txns), num(p.Bytes), sec(p.Age)}
			if p.Witness {
				lag[2], lag[3], lag[4] = "witness", "-", "-"
			}
			note := ""
			if len(notes) > 0 {
				note, notes = notes[0], notes[1:]
			}
			out = append(out, append(append([]string{name, home, epoch, lease}, lag...), note))
			name, home, epoch, lease = "", "", "", ""
		}
		if len(k.Peers) == 0 {
			out = append(out, []string{name, home, epoch, lease, "-", "-", "-", "-", "-", notes[0]})
			notes = notes[1:]
		}
		for _, note := range notes {
			out = append(out, []string{"", "", "", "", "", "", "", "", "", note})
		}
	}
	return out
}

// QuarantineRows is the table of what is set aside.
func QuarantineRows(r *admin.QuarantineSummary) [][]string {
	out := [][]string{{"SET ASIDE IN", "KEYSPACE", "WRITES", "LEASED", "BYTES", "OLDEST"}}
	for _, at := range r.Datacenters {
		if at.Error != "" {
			out = append(out, []string{at.DC, unknown, unknown, unknown, unknown, at.Error})
			continue
		}
		if len(at.Keyspaces) == 0 {
			out = append(out, []string{at.DC, "-", "0", "-", "-", "-"})
		}
		for _, k := range at.Keyspaces {
			age := time.Duration(k.Age * float64(time.Second)).Round(time.Second)
			out = append(out, []string{at.DC, strconv.Quote(k.Keyspace), strconv.Itoa(k.Writes), strconv.Itoa(k.Leased), strconv.FormatInt(k.Bytes, 10), age.String() + " old"})
		}
	}
	return out
}

// MoveRows is the table of a move that has ended.
func MoveRows(m registrar.MoveStatus) [][]string {
	took := unknown
	if !m.DecidedAt.IsZero() {
		took = m.DecidedAt.Sub(m.Began).Round(1e6).String()
	}
	return [][]string{
		{"KEYSPACE", "KIND", "FROM", "TO", "HOME", "EPOCH", "RESULT", "TOOK"},
		{strconv.Quote(m.Keyspace), string(m.Kind), orNone(m.From), m.To, orNone(m.Home), strconv.FormatUint(m.Decided, 10), outcome(m), took},
	}
}

// outcome is the result in a word that nobody takes for lost data.
func outcome(m registrar.MoveStatus) string {
	if m.Result == "lost" {
		return "overtaken"
	}
	return m.Result
}

// LedgerRows is what a failover would lose.
func LedgerRows(l *replication.Ledger) [][]string {
	kind := "failover"
	if l.Forced {
		kind = "forced failover"
	}
	out := [][]string{
		{kind, fmt.Sprintf("of %q from %s (epoch %d) to %s", l.Keyspace, orNone(l.Home), l.Epoch, l.To)},
		{"heard from", fmt.Sprintf("%s; %d needed", strings.Join(l.Reached, ", "), l.Needed)},
		{"kept", fmt.Sprintf("up to revision %d, which %s has", l.Kept, l.KeptBy)},
		{"home's head", num(l.Head) + ", told " + sec(l.HeadAge) + " ago"},
		{"lost, known of", "at most " + num(l.AtMost) + " transactions of all keyspaces"},
		{"lost, exactly", num(l.Txns) + " transactions of the keyspace, " + num(l.Bytes) + " bytes, the oldest " + sec(l.Oldest) + " old"},
	}
	for _, k := range l.Keys {
		out = append(out, []string{"lost key", strconv.Quote(k)})
	}
	for _, n := range l.Notes {
		out = append(out, []string{"note", n})
	}
	return out
}

func num(n *int64) string {
	if n == nil {
		return unknown
	}
	return strconv.FormatInt(*n, 10)
}

func sec(f *float64) string {
	if f == nil {
		return unknown
	}
	return fmt.Sprintf("%.3gs", *f)
}
