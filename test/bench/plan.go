package main

import (
	"fmt"
	"slices"
)

// op is what the clients do.
type op string

const (
	opPut   op = "put"
	opRange op = "range" // of one key, linearizable
	opLocal op = "serializable range"
	opTxn   op = "txn" // a compare and a put
)

// testCase is one line of the table.
type testCase struct {
	Op      op     `json:"op"`
	Clients int    `json:"clients"`
	Total   int    `json:"total,omitempty"`  // operations in all; 0 means as many as fit into the duration
	Policy  string `json:"policy,omitempty"` // write policy that is asked for; "" leaves it to the server
}

func (c testCase) String() string {
	if c.Total > 0 {
		return fmt.Sprintf("%s x%d, %d clients", c.Op, c.Total, c.Clients)
	}
	return fmt.Sprintf("%s, %d clients", c.Op, c.Clients)
}

// workClients do the case with a fixed amount of work.
const workClients = 64

// cases are measured in this order in each round.
func (c *Config) cases() []testCase {
	var out []testCase
	for _, n := range c.Clients {
		out = append(out, testCase{Op: opPut, Clients: n})
	}
	for _, n := range c.ReadClients {
		out = append(out, testCase{Op: opRange, Clients: n})
	}
	for _, n := range c.ReadClients {
		out = append(out, testCase{Op: opLocal, Clients: n})
	}
	for _, n := range c.TxnClients {
		out = append(out, testCase{Op: opTxn, Clients: n})
	}
	return out
}

// inTurn is the order of the sides in a round, counted from 0: A B C, then C B A. Over two rounds a machine
// that slowly gets faster or slower treats all of them alike.
func inTurn[T any](sides []T, round int) []T {
	out := slices.Clone(sides)
	if round%2 == 1 {
		slices.Reverse(out)
	}
	return out
}
