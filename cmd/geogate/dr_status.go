package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"geogate/cmd/dr"
	"geogate/cmd/drill"
	"geogate/gateway/admin"
)

// drReport is what `dr status` prints as JSON.
type drReport struct {
	*admin.HomesReport
	// Quarantine is what moves have set aside in all datacenters; nil when nobody could be asked.
	Quarantine *admin.QuarantineSummary `json:"quarantine"`
	// Of the folder of reports: the newest drill, and how long ago it and the newest that passed have ended.
	LastDrill      *drill.Summary `json:"last_drill"`
	LastDrillAge   *float64       `json:"last_drill_age_seconds"`
	LastSuccessAge *float64       `json:"last_successful_drill_age_seconds"`
}

func newDRReport(cmd *cobra.Command, r *admin.HomesReport, drills drill.Folder) drReport {
	now := time.Now()
	list, err := drills.List(now)
	if err != nil { // a report that can't be read is no reason to hide the homes
		warn(cmd, err)
		list = &drill.List{}
	}
	out := drReport{HomesReport: r, LastDrill: list.Last(), LastSuccessAge: list.LastSuccess}
	if out.LastDrill != nil {
		age := out.LastDrill.Age(now).Seconds()
		out.LastDrillAge = &age
	}
	return out
}

// warn tells of what is missing in an answer.
func warn(cmd *cobra.Command, err error) {
	_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "geogate:", err)
}

// write prints the report for people.
func (r drReport) write(w io.Writer) error {
	if err := rows(dr.StatusRows(r.HomesReport))(w); err != nil {
		return err
	}
	if r.Quarantine != nil {
		_, _ = fmt.Fprintln(w) // a failure shows below
		if err := rows(dr.QuarantineRows(r.Quarantine))(w); err != nil {
			return err
		}
	}
	if r.LastDrill == nil {
		return nil
	}
	passed := "none has passed"
	if r.LastSuccessAge != nil {
		passed = "the last that passed ended " + ago(*r.LastSuccessAge)
	}
	_, err := fmt.Fprintf(w, "\nlast drill: %s, %s; %s\n", r.LastDrill, ago(*r.LastDrillAge), passed)
	return err
}

// ago is an age for people.
func ago(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d >= 48*time.Hour {
		return fmt.Sprintf("%.0f days ago", d.Hours()/24)
	}
	return d.Round(time.Second).String() + " ago"
}
