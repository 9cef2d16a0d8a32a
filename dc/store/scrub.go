package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// scrubStep is about how much one read transaction of a scrub looks at; an open transaction delays the reuse of
// pages.
const scrubStep = 1 << 20

// scrubber reads again what was written long ago, because a record that nobody asks for would else be found damaged
// only when the other copies are gone too. It compares checksums; the tree of pages is checked by Open. What the
// kernel still has in memory is not read from the disk again.
type scrubber struct {
	s      *Store
	bytes  int // looked at in the present step
	mapped int // and since the pages were given back
}

// scrubs runs a pass every ScrubInterval until ctx ends or damage is found. The first comes after one interval,
// for Open has read everything.
func (s *Store) scrubs(ctx context.Context) {
	if s.cfg.ScrubInterval < 0 {
		return
	}
	tick := time.NewTicker(s.cfg.ScrubInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.closing:
			return
		case <-s.harm.found:
			return
		case <-tick.C:
		}
		if err := s.Scrub(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrDamaged) {
			s.log.Warn("reading the database for damage was interrupted", "path", s.cfg.Path, "error", err)
		}
	}
}

// Scrub reads everything in the file once, at ScrubRate, and compares all checksums. The error wraps [ErrDamaged]
// when one is wrong, and the store is broken then.
func (s *Store) Scrub(ctx context.Context) error {
	c := scrubber{s: s}
	start := time.Now()
	if err := c.small(); err != nil {
		return err
	}
	s.mu.RLock()
	var origins []string
	for origin := range s.chains {
		origins = append(origins, origin)
	}
	s.mu.RUnlock()
	for _, b := range []struct {
		name  []byte
		check func(tx *bolt.Tx, k, v []byte) error
	}{{bucketVersions, scrubVersion}, {bucketGraves, scrubGrave}, {bucketConflicts, scrubConflict}, {bucketRequests, scrubRequest}, {bucketRecords, scrubTableRecord}} {
		if err := c.walk(ctx, func(tx *bolt.Tx) *bolt.Bucket { return tx.Bucket(b.name) }, b.check); err != nil {
			return err
		}
	}
	for _, origin := range origins {
		bucket := func(tx *bolt.Tx) *bolt.Bucket { return tx.Bucket(bucketChains).Bucket([]byte(origin)) }
		err := c.walk(ctx, bucket, func(tx *bolt.Tx, k, v []byte) error { return scrubFrame(bucket(tx), origin, k, v) })
		if err != nil {
			return err
		}
	}
	s.metrics.scrubs.Inc()
	s.log.Info("read the database for damage and found none", "path", s.cfg.Path, "took", time.Since(start))
	return nil
}

// small compares the checksum over meta, state and origins.
func (c *scrubber) small() error {
	tx, err := c.begin()
	if err != nil {
		return err
	}
	defer rollback(tx)
	return c.s.reading(func() error {
		want, err := number(tx.Bucket(bucketMeta), metaSum)
		if got := smallSum(tx); err == nil && got != want {
			err = fmt.Errorf("small state has checksum %016x, want %016x", got, want)
		}
		return err
	})
}

func (c *scrubber) begin() (*bolt.Tx, error) {
	c.s.mu.RLock()
	defer c.s.mu.RUnlock()
	if err := c.s.readableLocked(); err != nil {
		return nil, err
	}
	return c.s.db.Begin(false)
}

// walk goes through a bucket in steps, each with a transaction of its own, and rests in between.
func (c *scrubber) walk(ctx context.Context, bucket func(*bolt.Tx) *bolt.Bucket, check func(tx *bolt.Tx, k, v []byte) error) error {
	for from := []byte{}; from != nil; {
		var err error
		if from, err = c.step(from, bucket, check); err != nil {
			return err
		}
		if c.mapped += c.bytes; c.mapped >= forgetBytes {
			c.mapped = 0
			c.s.forgetPages()
		}
		c.s.metrics.scrubbedBytes.Add(float64(c.bytes))
		rest := time.NewTimer(time.Duration(float64(c.bytes) / float64(c.s.cfg.ScrubRate) * float64(time.Second)))
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return ctx.Err()
		case <-c.s.closing:
			rest.Stop()
			return ErrClosed
		}
	}
	return nil
}

// step returns where the next one begins, nil at the end of the bucket.
func (c *scrubber) step(from []byte, bucket func(*bolt.Tx) *bolt.Bucket, check func(tx *bolt.Tx, k, v []byte) error) (next []byte, err error) {
	tx, err := c.begin()
	if err != nil {
		return nil, err
	}
	defer rollback(tx)
	c.bytes = 0
	err = c.s.reading(func() error {
		b := bucket(tx)
		if b == nil {
			return nil // a chain that was never flushed, or no request yet
		}
		cur := b.Cursor()
		for k, v := cur.Seek(from); k != nil; k, v = cur.Next() {
			if c.bytes >= scrubStep {
				next = bytes.Clone(k)
				return nil
			}
			if err := check(tx, k, v); err != nil {
				return err
			}
			c.bytes += len(k) + len(v)
		}
		return nil
	})
	return next, err
}

func scrubVersion(_ *bolt.Tx, k, body []byte) error {
	main, sub, err := decodeRevKey(k)
	if err != nil {
		return err
	}
	var v Version
	_, err = decodeRecord(main, sub, body, &v)
	return err
}

func scrubGrave(_ *bolt.Tx, k, v []byte) error {
	key, body, err := openStored(k, v)
	if err != nil {
		return err
	}
	var g Geo
	_, err = decodeGrave(key, body, &g)
	return err
}

func scrubConflict(tx *bolt.Tx, k, v []byte) error {
	plain, err := plainConflicts(tx.Bucket(bucketMeta))
	if err != nil {
		return err
	}
	if len(k) != seqBytes {
		return fmt.Errorf("conflict lies at %x", k)
	}
	n := binary.BigEndian.Uint64(k)
	_, err = decodeConflict(n, v, n <= plain)
	return err
}

func scrubRequest(_ *bolt.Tx, k, v []byte) error {
	if len(k) != seqBytes {
		return fmt.Errorf("request lies at %x", k)
	}
	_, _, err := decodeRequest(binary.BigEndian.Uint64(k), v)
	return err
}

// scrubFrame takes the mark of plain frames from the file: memory may be ahead of it.
func scrubFrame(b *bolt.Bucket, origin string, k, v []byte) error {
	h, err := decodeChainHead(origin, b.Get(chainHeadKey))
	if err != nil || bytes.Equal(k, chainHeadKey) {
		return err
	}
	if len(k) != seqBytes {
		return fmt.Errorf("frame lies at %x", k)
	}
	last := int64(binary.BigEndian.Uint64(k))
	if _, err := decodeSealed(origin, last, v, last <= h.plain); err != nil {
		return fmt.Errorf("chain of %s: frame up to %d: %w", origin, last, err)
	}
	return nil
}
