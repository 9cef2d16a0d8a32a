package check

import (
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// The operations on a register.
const (
	Read = "read"
	Set  = "set"
	Swap = "swap" // sets Value if the register holds Expect
)

// Call is one operation on a register. An empty value stands for a register that was never set.
type Call struct {
	Op, Key       string
	Value, Expect string
}

// Answer is the answer to a [Call].
type Answer struct {
	Value   string // of a read
	Swapped bool   // of a swap
	Open    bool   // no answer: the operation may have happened, at any time since, or not at all
}

// Never is the time of an answer that did not come.
const Never = math.MaxInt64

// registers is the sequential model of independent registers.
func registers() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			var order []string
			byKey := map[string][]porcupine.Operation{}
			for _, op := range history {
				key := op.Input.(Call).Key
				if byKey[key] == nil {
					order = append(order, key)
				}
				byKey[key] = append(byKey[key], op)
			}
			var out [][]porcupine.Operation
			for _, key := range order {
				out = append(out, byKey[key])
			}
			return out
		},
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			return step(state.(string), input.(Call), output.(Answer))
		},
		DescribeOperation: func(input, output any) string { return describe(input.(Call), output.(Answer)) },
	}
}

func step(state string, c Call, a Answer) (bool, any) {
	switch c.Op {
	case Set:
		return true, c.Value
	case Swap:
		match := state == c.Expect
		if !a.Open && match != a.Swapped {
			return false, state
		}
		if match {
			return true, c.Value
		}
		return true, state
	}
	return a.Open || state == a.Value, state
}

func describe(c Call, a Answer) string {
	var text string
	switch c.Op {
	case Set:
		text = fmt.Sprintf("set %s", c.Value)
	case Swap:
		text = fmt.Sprintf("swap %q for %q: %t", c.Expect, c.Value, a.Swapped)
	default:
		text = fmt.Sprintf("read: %q", a.Value)
	}
	if a.Open {
		text += " (no answer)"
	}
	return text
}

// Registers checks that the history of registers of one datacenter is linearizable. When it is not, or when
// that could not be decided in the time given, it writes a page that shows the history to html.
func Registers(history []porcupine.Operation, within time.Duration, html string) []string {
	model := registers()
	result, info := porcupine.CheckOperationsVerbose(model, history, within)
	if result == porcupine.Ok {
		return nil
	}
	problem := fmt.Sprintf("%d operations on registers are not linearizable", len(history))
	if result == porcupine.Unknown {
		problem = fmt.Sprintf("whether %d operations are linearizable was not decided in %s", len(history), within)
	}
	if err := porcupine.VisualizePath(model, info, html); err != nil {
		return []string{problem, "the history can't be shown: " + err.Error()}
	}
	return []string{problem + "; see " + html}
}
