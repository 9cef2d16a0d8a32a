package status

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"geogate/replication/verify"
)

// unknown stands where a number is not known.
const unknown = "?"

// WriteStatus prints the whole report.
func (r *Report) WriteStatus(w io.Writer) error {
	leader := r.Leader
	if leader == "" {
		leader = "none"
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row(tw, "DC", "NODE", "LEADER", "TERM", "REVISION", "VECTOR")
	row(tw, r.DC, r.Node, leader, strconv.FormatUint(r.Term, 10), strconv.FormatInt(r.Revision, 10), r.vector())
	if err := tw.Flush(); err != nil {
		return err
	}
	if err := r.writeMembers(w); err != nil {
		return err
	}
	if r.Problem != "" {
		if _, err := fmt.Fprintln(w, "problem:", r.Problem); err != nil {
			return err
		}
	}
	if line := r.clock(); line != "" {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	if err := r.WriteLag(w); err != nil {
		return err
	}
	return r.writeVerify(w)
}

// writeVerify prints whether the peers' data is known to be equal.
func (r *Report) writeVerify(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := false
	for _, p := range r.Peers {
		v := p.Verify
		if v == nil {
			continue
		}
		if !head {
			head = true
			row(tw)
			row(tw, "PEER", "DATA", "EQUAL", "PENDING", "DIFFERENT", "KEYS", "ALL PROVEN", "REASON")
		}
		row(tw, p.DC, v.State, fmt.Sprintf("%d/%d", v.Equal, v.Buckets), strconv.Itoa(v.Pending), strconv.Itoa(v.Different),
			strconv.Itoa(v.Keys), number(v.LastOK, "%.1fs ago"), v.why())
	}
	return tw.Flush()
}

// why is the reason, and the keyspaces of the keys that differ.
func (v *Verify) why() string {
	tally := verify.Tally{Keyspaces: v.Keyspaces, System: v.System}
	where := tally.String()
	if where == "" {
		return v.Reason
	}
	where = "keys that differ by keyspace: " + where
	if v.Reason == "" {
		return where
	}
	return v.Reason + "; " + where
}

// clock is worth a line when something can be said of it.
func (r *Report) clock() string {
	switch {
	case r.Clock == nil:
		return ""
	case r.Clock.Refused != "":
		return "clock: FENCED: " + r.Clock.Refused
	case r.Clock.AheadMillis == nil:
		return "clock: not compared yet: no peer's clock is known"
	case *r.Clock.AheadMillis < 0:
		return fmt.Sprintf("clock: %.0fms behind the median of the peers", -*r.Clock.AheadMillis)
	default:
		return fmt.Sprintf("clock: %.0fms ahead of the median of the peers", *r.Clock.AheadMillis)
	}
}

// writeMembers prints one line for each node of the datacenter.
func (r *Report) writeMembers(w io.Writer) error {
	if len(r.Members) == 0 {
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row(tw)
	row(tw, "MEMBER", "ID", "ROLE", "RAFT", "CLIENTS")
	for _, m := range r.Members {
		name := m.Name
		if name == "" {
			name = "(not started)"
		}
		row(tw, name, m.ID, m.Role, strings.Join(m.PeerURLs, " "), strings.Join(m.ClientURLs, " "))
	}
	return tw.Flush()
}

// WriteLag prints one line for each peer.
func (r *Report) WriteLag(w io.Writer) error {
	if len(r.Peers) == 0 {
		_, err := fmt.Fprintln(w, r.noPeers())
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row(tw, "PEER", "HEALTH", "ACKED", "LAG TXNS", "LAG BYTES", "LAG SECONDS", "RTT", "SKEW", "LAST CONTACT", "REASON")
	for _, p := range r.Peers {
		row(tw, p.DC, p.Health, number(p.AckedRevision, "%d"), number(p.LagTxns, "%d"), size(p.LagBytes),
			number(p.LagSeconds, "%.3f"), number(p.RTTMillis, "%.1fms"), number(p.SkewMillis, "%.0fms"), number(p.LastContactSeconds, "%.1fs ago"), p.why())
	}
	return tw.Flush()
}

// why is the reason of the peer's health, and the cause of a silence.
func (p *Peer) why() string {
	if p.Cause == "" {
		return p.Reason
	}
	return strings.TrimPrefix(fmt.Sprintf("%s; %s: %s", p.Reason, p.Cause, p.CauseDetail), "; ")
}

func (r *Report) noPeers() string {
	switch {
	case r.PeersError != "":
		return "peers unknown: " + r.PeersError
	case r.Peers != nil:
		return "no peers: the cluster has one datacenter"
	case r.Leader == "":
		return fmt.Sprintf("peers unknown: %s has no leader now, and only the leader knows them", r.DC)
	default:
		return fmt.Sprintf("peers unknown: %s does not lead %s; ask %s", r.Node, r.DC, r.Leader)
	}
}

func (r *Report) vector() string {
	parts := make([]string, 0, len(r.Vector))
	for _, dc := range slices.Sorted(maps.Keys(r.Vector)) {
		parts = append(parts, fmt.Sprintf("%s:%d", dc, r.Vector[dc]))
	}
	return strings.Join(parts, " ")
}

// row writes into a tabwriter, which reports its errors when it is flushed.
func row(tw *tabwriter.Writer, cells ...string) {
	_, _ = fmt.Fprintln(tw, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
}

func number[T int64 | float64](v *T, format string) string {
	if v == nil {
		return unknown
	}
	return fmt.Sprintf(format, *v)
}

func size(v *int64) string {
	if v == nil || *v < 0 {
		return unknown
	}
	return humanize.IBytes(uint64(*v))
}
