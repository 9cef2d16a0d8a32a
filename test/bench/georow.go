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
	// RTTP50 and RTTP99 are of the round trip time that the relays really gave meanwhile, by an echo.
	RTTP50 float64 `json:"rtt_p50_ms,omitempty"`
	RTTP99 float64 `json:"rtt_p99_ms,omitempty"`
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
	// Busy and Steal are shares of all cores during the load: what was busy, whoever it was, and what the hypervisor took
	// away.
	Busy  float64 `json:"machine_busy_share,omitempty"`
	Steal float64 `json:"steal_share,omitempty"`
	// Errors are requests that failed.
	Errors float64 `json:"errors,omitempty"`
}

// rowOf is a line with what every sample has.
func rowOf(name, side string, clients int, m sample) geoRow {
	return geoRow{
		Case: name, Side: side, Clients: clients, Rate: m.Rate, P50: m.P50, P99: m.P99, Errors: m.Errors, Busy: m.Busy, Steal: m.Steal,
	}
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

// other is the figure that only this kind of measurement has, and how busy the machine was.
func (r *geoRow) other() string {
	special := r.special()
	if r.Busy == 0 {
		return special
	}
	cpu := fmt.Sprintf("CPU %.0f %% busy, %.0f %% stolen", 100*r.Busy, 100*r.Steal)
	if special == missing {
		return cpu
	}
	return special + "; " + cpu
}

func (r *geoRow) special() string {
	switch {
	case r.RTTP50 > 0:
		return fmt.Sprintf("%.0f %% of clients / RTT, RTT measured %.2f ms (p99 %.2f)", 100*r.OfBound, r.RTTP50, r.RTTP99)
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
