package main

import (
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
)

// geoRow is one line of the table of several datacenters. What a line has no figure for is 0.
type geoRow struct {
	Case    string  `json:"case"`
	Side    string  `json:"side"` // a datacenter, all of them, or etcd
	Clients int     `json:"clients,omitempty"`
	Rate    float64 `json:"ops_per_second,omitempty"` // successes
	P50     float64 `json:"p50_ms,omitempty"`
	P99     float64 `json:"p99_ms,omitempty"`
	// OfBound is Rate divided by what as many clients can do at most, each waiting a round trip for each of its
	// requests.
	OfBound float64 `json:"of_clients_per_rtt,omitempty"`
	// LagP50 and LagP99 are from the answer at one place until a watch shows the write at the other.
	LagP50 float64 `json:"lag_p50_ms,omitempty"`
	LagP99 float64 `json:"lag_p99_ms,omitempty"`
	// Replicated are writes per second that arrived at the other place, the time included that the last ones took.
	Replicated float64 `json:"replicated_per_second,omitempty"`
	// PerByte are bytes on the WAN, both ways, for each byte of keys and values, and for each peer.
	PerByte float64 `json:"wan_bytes_per_payload_byte,omitempty"`
	// Keys are those that a datacenter missed. Seconds is from its first answer until it had them, Restart from its
	// start until then.
	Keys    int     `json:"keys,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Restart float64 `json:"seconds_from_start,omitempty"`
	// Core is CPU time as percent of one core.
	Core float64 `json:"percent_of_a_core,omitempty"`
	// PerCPU are puts per second of CPU time of the datacenter's servers, PerCPUAll of those of all datacenters. OfAlone is
	// PerCPU divided by that of a datacenter without peers.
	PerCPU    float64 `json:"puts_per_cpu_second,omitempty"`
	PerCPUAll float64 `json:"puts_per_cpu_second_of_all,omitempty"`
	OfAlone   float64 `json:"of_puts_per_cpu_second_without_peers,omitempty"`
	// Errors are requests that failed.
	Errors float64 `json:"errors,omitempty"`
}

// geoTable is one line per measurement.
func geoTable(rows []geoRow) string {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"measurement", "where", "clients", "ops/s", "p50 ms", "p99 ms", "lag p50 ms", "lag p99 ms", "replicated/s", "other"})
	for _, r := range rows {
		t.AppendRow(table.Row{
			r.Case, r.Side, number("%.0f", float64(r.Clients)), number("%.0f", r.Rate), number("%.2f", r.P50), number("%.2f", r.P99),
			number("%.1f", r.LagP50), number("%.1f", r.LagP99), number("%.0f", r.Replicated), r.other(),
		})
	}
	return t.RenderMarkdown()
}

// other is the figure that only this kind of measurement has.
func (r *geoRow) other() string {
	switch {
	case r.OfBound > 0:
		return fmt.Sprintf("%.0f %% of clients / RTT", 100*r.OfBound)
	case r.PerByte > 0:
		return fmt.Sprintf("%.2f bytes per payload byte", r.PerByte)
	case r.Keys > 0:
		return fmt.Sprintf("%d keys, %.2f s after its first answer, %.2f s after its start", r.Keys, r.Seconds, r.Restart)
	case r.OfAlone > 0:
		return fmt.Sprintf("%.0f puts per CPU second, %.2f of those without peers; %.0f if all servers count", r.PerCPU, r.OfAlone, r.PerCPUAll)
	case r.PerCPU > 0:
		return fmt.Sprintf("%.0f puts per CPU second", r.PerCPU)
	case r.Core > 0:
		return fmt.Sprintf("%.1f %% of a core", r.Core)
	}
	return missing
}
