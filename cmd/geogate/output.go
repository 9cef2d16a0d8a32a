package main

import (
	"encoding/json"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// output is the -o flag.
type output string

const (
	table   output = "table"
	asJSON  output = "json"
	oneLine output = "json-line" // internal: JSON without line breaks, for streams
)

// addOutput gives a command the -o flag.
func addOutput(cmd *cobra.Command) *output {
	o := table
	cmd.Flags().VarP(&o, "output", "o", "table or json")
	return &o
}

// String, Set and Type make output a flag value.
func (o *output) String() string { return string(*o) }

// Set takes table or json.
func (o *output) Set(s string) error {
	switch output(s) {
	case table, asJSON:
		*o = output(s)
		return nil
	}
	return usagef("%q is no output format, want table or json", s)
}

// Type names the flag's values in the help.
func (o *output) Type() string { return "format" }

// print writes v as JSON, or calls asTable.
func (o output) print(w io.Writer, v any, asTable func(io.Writer) error) error {
	if o == table {
		return asTable(w)
	}
	e := json.NewEncoder(w)
	if o == asJSON {
		e.SetIndent("", "  ")
	}
	return e.Encode(v)
}

// rows prints lines of cells as a table, the first being the head.
func rows(lines [][]string) func(io.Writer) error {
	return func(w io.Writer) error {
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, l := range lines {
			_, _ = io.WriteString(tw, strings.Join(l, "\t")+"\n") // Flush reports it
		}
		return tw.Flush()
	}
}
