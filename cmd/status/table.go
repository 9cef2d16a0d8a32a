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
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return r.WriteLag(w)
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
	row(tw, "PEER", "HEALTH", "ACKED", "LAG TXNS", "LAG BYTES", "LAG SECONDS", "RTT", "LAST CONTACT", "REASON")
	for _, p := range r.Peers {
		row(tw, p.DC, p.Health, number(p.AckedRevision, "%d"), number(p.LagTxns, "%d"), size(p.LagBytes),
			number(p.LagSeconds, "%.3f"), number(p.RTTMillis, "%.1fms"), number(p.LastContactSeconds, "%.1fs ago"), p.Reason)
	}
	return tw.Flush()
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
