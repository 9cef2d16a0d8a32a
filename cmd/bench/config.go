package bench

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Op is what the clients do.
type Op string

// The operations.
const (
	Put Op = "put"
	Get Op = "get"
	Txn Op = "txn" // a compare that is true, and a put
)

// Defaults of [Config].
const (
	defaultTotal      = 10_000
	defaultValueBytes = 256
	defaultKeys       = 10_000
	defaultTimeout    = 10 * time.Second
	defaultPrefix     = "/bench/"

	// clientsPerConnection keeps one HTTP/2 connection from becoming the bottleneck.
	clientsPerConnection = 32
)

// Config describes one run. Fields without a stated default are required.
type Config struct {
	Endpoints    []string      // host:port of etcd v3 endpoints, spread over the connections
	Op           Op            // Put, Get or Txn
	Clients      int           // requests under way at a time; 0 means 1
	Total        int           // requests in all; 0 means 10000, or no bound when Duration is set
	Duration     time.Duration // how long to start new requests; 0 means until Total
	ValueBytes   int           // of a put's or a transaction's value, and of the values a get finds; 0 means 256
	Keys         int           // different keys, chosen at random; 0 means 10000
	Prefix       string        // of every key; "" means /bench/
	Timeout      time.Duration // of one request; 0 means 10 s
	Policy       string        // write policy asked for, ALL, QUORUM, ANY or ASYNC; "" leaves it to the server
	Serializable bool          // gets read the node's own state instead of asking the leader
}

func (c Config) withDefaults() Config {
	c.Clients = cmp.Or(c.Clients, 1)
	if c.Duration == 0 {
		c.Total = cmp.Or(c.Total, defaultTotal)
	}
	c.ValueBytes = cmp.Or(c.ValueBytes, defaultValueBytes)
	c.Keys = cmp.Or(c.Keys, defaultKeys)
	c.Prefix = cmp.Or(c.Prefix, defaultPrefix)
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	return c
}

// ErrConfig marks a run that can't be started as described.
var ErrConfig = errors.New("invalid bench")

// errCompare marks an answer that no etcd gives.
var errCompare = errors.New("a comparison that always holds did not")

func (c *Config) validate() error {
	switch {
	case len(c.Endpoints) == 0:
		return fmt.Errorf("%w: no endpoint; give the client address of a node, such as 127.0.0.1:24000", ErrConfig)
	case c.Op != Put && c.Op != Get && c.Op != Txn:
		return fmt.Errorf("%w: operation %q, want put, get or txn", ErrConfig, c.Op)
	case c.Clients < 0, c.Total < 0, c.Duration < 0, c.ValueBytes < 0, c.Keys < 0, c.Timeout < 0:
		return fmt.Errorf("%w: clients %d, total %d, duration %s, value bytes %d, keys %d and timeout %s must not be negative",
			ErrConfig, c.Clients, c.Total, c.Duration, c.ValueBytes, c.Keys, c.Timeout)
	}
	return nil
}

// connections is one for every 32 clients, and at least one for every endpoint if there are so many clients.
func (c *Config) connections() int {
	return max((c.Clients+clientsPerConnection-1)/clientsPerConnection, min(len(c.Endpoints), c.Clients))
}
