// Command promql reads a JSON list of PromQL expressions on stdin and writes, for each of them, what is wrong with it, or
// the series that it selects. It is a module of its own: Prometheus' parser is needed by one test only.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/prometheus/prometheus/promql/parser"
)

// Parsed is what there is to say of one expression.
type Parsed struct {
	Error     string     `json:"error,omitempty"`
	Type      string     `json:"type,omitempty"` // of its value
	Selectors []Selector `json:"selectors,omitempty"`
}

// Selector selects series of a metric by their labels.
type Selector struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"` // that must be equal
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "promql:", err)
		os.Exit(1)
	}
}

func run() error {
	var expressions []string
	if err := json.NewDecoder(os.Stdin).Decode(&expressions); err != nil {
		return err
	}
	out := make([]Parsed, len(expressions))
	p := parser.NewParser(parser.Options{})
	for i, text := range expressions {
		out[i] = parse(p, text)
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

func parse(p parser.Parser, text string) (out Parsed) {
	e, err := p.ParseExpr(text)
	if err != nil {
		return Parsed{Error: err.Error()}
	}
	out.Type = string(e.Type())
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		s := Selector{Name: v.Name, Labels: map[string]string{}}
		for _, m := range v.LabelMatchers {
			switch {
			case m.Name == "__name__":
			case m.Type.String() == "=":
				s.Labels[m.Name] = m.Value
			default:
				out.Error = fmt.Sprintf("%s: this check knows matchers with = only", m)
			}
		}
		out.Selectors = append(out.Selectors, s)
		return nil
	})
	return out
}
