package verify

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	rule "geogate/replication/verify"
)

// Result is what a verification found.
type Result struct {
	State       string       `json:"state"` // equal, different, or unproven: not proven equal in time
	Pairs       []Pair       `json:"pairs"`
	Nodes       []Node       `json:"nodes,omitempty"` // those asked whose data differs from their leader's
	Differences []Difference `json:"differences"`
	Repairs     []Repaired   `json:"repairs,omitempty"`
}

// Node is a node whose data differs from that of the one that leads its datacenter.
type Node struct {
	DC      string `json:"dc"`
	Node    string `json:"node"`
	Problem string `json:"problem"`
}

// Pair is one datacenter compared with another one, as the first says.
type Pair struct {
	DC        string   `json:"dc"`
	Peer      string   `json:"peer"`
	State     string   `json:"state"` // equal, different, pending, unknown or off
	Buckets   int      `json:"buckets"`
	Equal     int      `json:"equal"` // by the last round
	Pending   int      `json:"pending"`
	Different int      `json:"different"`
	LastOK    *float64 `json:"last_ok_age_seconds"` // all of it has been proven equal since then; null when never
	Reason    string   `json:"reason,omitempty"`
	More      bool     `json:"more"` // more keys differ than are named
}

// Difference is a key that differs, with each datacenter's copy.
type Difference struct {
	Key      []byte               `json:"key"`
	Text     string               `json:"key_text,omitempty"` // when it is text
	Keyspace *string              `json:"keyspace,omitempty"` // the longest prefix of a keyspace that the key has; null for a system entry
	System   bool                 `json:"system,omitempty"`   // an entry of the system table (users, roles) of that name
	Copies   map[string]rule.Copy `json:"copies"`
}

// Repaired is a copy that was put right.
type Repaired struct {
	Key     []byte `json:"key"`
	DC      string `json:"dc"`
	From    string `json:"from"`
	Applied bool   `json:"applied"` // false: a newer write had taken the wrong copy's place
}

// Write prints the result for people.
func (r *Result) Write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, a ...any) { _, _ = fmt.Fprintf(tw, format+"\n", a...) } // Flush reports it
	line("DC\tPEER\tDATA\tEQUAL\tPENDING\tDIFFERENT\tALL PROVEN\tREASON")
	for _, p := range r.Pairs {
		age := "?"
		if p.LastOK != nil {
			age = fmt.Sprintf("%.1fs ago", *p.LastOK)
		}
		line("%s\t%s\t%s\t%d/%d\t%d\t%d\t%s\t%s", p.DC, p.Peer, p.State, p.Equal, p.Buckets, p.Pending, p.Different, age, p.Reason)
	}
	for _, n := range r.Nodes {
		line("\n%s/%s: %s", n.DC, n.Node, n.Problem)
	}
	if len(r.Differences) > 0 {
		line("\nKEY\tDC\tVALUE HASH\tORIGIN\tREVISION\tSTAMP")
	}
	for _, d := range r.Differences {
		name := fmt.Sprintf("%q", d.Key)
		switch {
		case d.System:
			name = "system entry " + name
		case d.Keyspace != nil:
			name += fmt.Sprintf(" (keyspace %q)", *d.Keyspace)
		}
		for _, dc := range slices.Sorted(maps.Keys(d.Copies)) {
			c := d.Copies[dc]
			hash := fmt.Sprintf("%016x", c.Hash)
			switch {
			case !c.Known:
				line("%s\t%s\tnothing\t\t\t", name, dc)
				continue
			case !c.Live:
				hash = "deleted"
			}
			line("%s\t%s\t%s\t%s\t%d\t%s", name, dc, hash, c.Origin, c.Revision, c.Stamp)
		}
	}
	if len(r.Repairs) > 0 {
		line("\nREPAIRED\tIN\tFROM\tRESULT")
	}
	for _, x := range r.Repairs {
		result := "applied"
		if !x.Applied {
			result = "a newer write was there already"
		}
		line("%q\t%s\t%s\t%s", x.Key, x.DC, x.From, result)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, p := range r.Pairs {
		if p.More {
			_, err := fmt.Fprintf(w, "more keys differ between %s and %s than are named: repair these and verify again\n", p.DC, p.Peer)
			return err
		}
	}
	return nil
}

// keyspaceOf is the longest of the prefixes that a key has, nil for none.
func keyspaceOf(prefixes []string, key string) (longest *string) {
	for i, p := range prefixes {
		if strings.HasPrefix(key, p) && (longest == nil || len(p) > len(*longest)) {
			longest = &prefixes[i]
		}
	}
	return longest
}

func textOf(key []byte) string {
	if utf8.Valid(key) {
		return string(key)
	}
	return ""
}
