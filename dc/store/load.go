package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// disk is what Open reads from a file.
type disk struct {
	db   *bolt.DB
	txid int
	size int64 // of the file, as of that transaction

	mapped int // bytes read since forgetPages

	format uint64

	index     *index
	state     map[string][]byte
	origins   []string
	originIDs map[string]uint16
	chains    map[string]*chain
	conflicts conflictLog
	requests  requestLog
	leases    map[int64][]byte
	system    systemTable
	records   records
	garbage   garbage

	revision, compacted int64
	applied             Applied
	digest              uint64
	buckets             bucketSums
}

func newDisk() *disk {
	return &disk{
		index: newIndex(), state: map[string][]byte{}, originIDs: map[string]uint16{}, chains: map[string]*chain{},
		requests: newRequestLog(), buckets: newBuckets(), system: newSystemTable(), leases: map[int64][]byte{},
	}
}

// header reads what says whether this build can read the file at all.
func (d *disk) header(tx *bolt.Tx) error {
	d.txid, d.size = tx.ID(), tx.Size()
	m := tx.Bucket(bucketMeta)
	if m == nil {
		return fmt.Errorf("%w: no bucket %q", ErrFormat, bucketMeta)
	}
	format, err := number(m, metaFormat)
	if err != nil {
		return err
	}
	if format < oldestFormat || format > lastFormat {
		return fmt.Errorf("%w: the file has %d, this build reads %d to %d; if no other build has used it the file is damaged: move it away and start this node with --rebuild",
			ErrFormat, format, oldestFormat, lastFormat)
	}
	d.format = format
	return nil
}

// load reads everything else, of the same transaction as header.
func (d *disk) load(tx *bolt.Tx, cfg *Config) error {
	m := tx.Bucket(bucketMeta)
	for _, name := range buckets() {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("no bucket %q", name)
		}
	}
	sum, err := number(m, metaSum)
	if err != nil {
		return err
	}
	if got := smallSum(tx); got != sum {
		return fmt.Errorf("small state has checksum %016x, want %016x", got, sum)
	}
	steps := []struct {
		name string
		run  func() error
	}{
		{"meta", func() error { return d.loadMeta(m) }},
		{"state", func() error { return d.loadState(tx.Bucket(bucketState)) }},
		{"origins", func() error { return d.loadOrigins(tx.Bucket(bucketOrigins)) }},
		{"versions", func() error { return d.loadVersions(tx.Bucket(bucketVersions)) }},
		{"graves", func() error { return d.loadGraves(tx.Bucket(bucketGraves)) }},
		{"chains", func() error { return d.loadChains(tx.Bucket(bucketChains)) }},
		{"conflicts", func() error { return d.loadConflicts(tx.Bucket(bucketConflicts), cfg) }},
		{"requests", func() error { return d.loadRequests(tx.Bucket(bucketRequests), m.Get(metaRequests)) }},
		{"leases", func() error { return d.loadLeases(tx.Bucket(bucketLeases), m.Get(metaLeases)) }},
		{"system", func() error { return d.loadSystem(tx.Bucket(bucketSystem), d.format, m.Get(metaSystem)) }},
		{"records", func() error { return d.loadRecords(tx.Bucket(bucketRecords), d.format, m.Get(metaRecords)) }},
	}
	for _, s := range steps {
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if err := d.compareCounts(m); err != nil {
		return err
	}
	return d.compareDigest(m)
}

// compareDigest compares the live data with the digest that was flushed with it; format 1 has none.
func (d *disk) compareDigest(m *bolt.Bucket) error {
	if d.format == oldestFormat {
		return nil
	}
	want, err := number(m, metaDigest)
	if err == nil && want != d.digest {
		err = fmt.Errorf("the live data has digest %016x, it was written with %016x", d.digest, want)
	}
	return err
}

// compareCounts notices records that are missing without a trace.
func (d *disk) compareCounts(m *bolt.Bucket) error {
	for _, c := range []struct {
		name []byte
		got  int
	}{
		{metaVersions, d.index.live + d.garbage.len()}, {metaGraves, d.index.buried}, {metaChains, len(d.chains)},
	} {
		want, err := number(m, c.name)
		if err != nil {
			return err
		}
		if uint64(c.got) != want {
			return fmt.Errorf("%d %s, want %d", c.got, c.name, want)
		}
	}
	return nil
}

func number(b *bolt.Bucket, key []byte) (uint64, error) {
	v := b.Get(key)
	if len(v) != seqBytes {
		return 0, fmt.Errorf("%s has %d bytes, want %d", key, len(v), seqBytes)
	}
	return binary.BigEndian.Uint64(v), nil
}

func (d *disk) loadMeta(m *bolt.Bucket) error {
	revision, err := number(m, metaRevision)
	if err != nil {
		return err
	}
	compacted, err := number(m, metaCompacted)
	if err != nil {
		return err
	}
	if d.conflicts.total, err = number(m, metaConflicts); err != nil {
		return err
	}
	if d.conflicts.plain, err = plainConflicts(m); err != nil {
		return err
	}
	if compacted > revision {
		return fmt.Errorf("compacted revision %d is above revision %d", compacted, revision)
	}
	d.revision, d.compacted = int64(revision), int64(compacted)
	d.applied, err = decodeApplied(m.Get(metaApplied))
	return err
}

func (d *disk) loadState(b *bolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		d.state[string(k)] = append([]byte{}, v...)
		return nil
	})
}

func (d *disk) loadOrigins(b *bolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		if len(k) != 2 || int(binary.BigEndian.Uint16(k)) != len(d.origins) {
			return fmt.Errorf("entry %x where number %d belongs", k, len(d.origins))
		}
		d.originIDs[string(v)] = uint16(len(d.origins))
		d.origins = append(d.origins, string(v))
		return nil
	})
}

// loadVersions replays all records in order of revision. The index and the list of garbage come out as they
// were, with what compaction had not yet deleted listed again.
func (d *disk) loadVersions(b *bolt.Bucket) error {
	var h hasher
	var items itemTable
	last := rev{main: -1}
	var v Version
	c := b.Cursor()
	for k, body := c.First(); k != nil; k, body = c.Next() {
		main, sub, err := decodeRevKey(k)
		if err != nil {
			return err
		}
		if main < last.main || (main == last.main && sub <= last.sub) {
			return fmt.Errorf("revision %d.%d comes behind %d.%d", main, sub, last.main, last.sub)
		}
		if main > d.revision {
			return fmt.Errorf("record at revision %d, above the current %d", main, d.revision)
		}
		last = rev{main: main, sub: sub}
		d.passed(b.Tx(), len(body))
		origin, err := decodeRecord(main, sub, body, &v)
		if err != nil {
			return err
		}
		if int(origin) >= len(d.origins) {
			return fmt.Errorf("record at revision %d.%d has unknown origin %d", main, sub, origin)
		}
		v.Geo.Origin = d.origins[origin]
		d.replay(items.ensure(v.Key), &v, origin, &h)
	}
	d.index.load(&items, func(it *item, h keyHash) {
		if it.lease() != 0 {
			d.index.leased.attach(it)
		}
		if it.live {
			d.buckets.change(h, it.hash, it.origin, it.originRevision)
		}
	})
	return nil
}

// passed counts what was read, and lets go of the pages now and then: a whole file that stays mapped while it is
// loaded would be the most memory that this process ever takes.
func (d *disk) passed(tx *bolt.Tx, n int) {
	if d.mapped += n; d.mapped >= forgetBytes {
		d.mapped = 0
		forgetPages(tx.DB(), d.size)
	}
}

func (d *disk) replay(it *item, v *Version, origin uint16, h *hasher) {
	if it.live {
		d.digest -= it.hash
		d.index.live--
		d.garbage.add(v.Mod, it)
	}
	it.push(rev{main: v.Mod, sub: uint32(v.Sub), tomb: v.Deleted})
	it.setLease(v.Lease)
	it.create, it.version, it.hash = v.Create, v.Version, 0
	it.setGeo(&v.Geo, origin)
	if v.Deleted {
		d.garbage.addTombstone(v.Mod, it)
		return
	}
	it.hash = h.sum(v.Key, v.Value, v.Lease, &v.Geo)
	d.digest += it.hash
	d.index.live++
}

func (d *disk) loadGraves(b *bolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		k, v, err := openStored(k, v)
		if err != nil {
			return err
		}
		var g Geo
		origin, err := decodeGrave(k, v, &g)
		if err != nil {
			return err
		}
		if int(origin) >= len(d.origins) {
			return fmt.Errorf("%q: unknown origin %d", k, origin)
		}
		h := hashKey(asString(k))
		it := d.index.ensure(k, h)
		if it.live {
			return fmt.Errorf("%q is live and has a grave", k)
		}
		it.setGeo(&g, origin)
		d.index.bury(it)
		d.buckets.change(h, 0, origin, g.OriginRevision)
		return nil
	})
}

func (d *disk) loadChains(b *bolt.Bucket) error {
	return b.ForEachBucket(func(name []byte) error {
		c, err := d.loadChain(string(name), b.Bucket(name))
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		d.chains[c.origin] = c
		return nil
	})
}

func (d *disk) loadChain(origin string, b *bolt.Bucket) (*chain, error) {
	h, err := decodeChainHead(origin, b.Get(chainHeadKey))
	if err != nil {
		return nil, err
	}
	c := &chain{origin: origin, incarnation: h.incarnation, head: h.head, floor: h.floor, plain: h.plain}
	at := c.floor
	err = b.ForEach(func(k, v []byte) error {
		if bytes.Equal(k, chainHeadKey) {
			return nil
		}
		if len(k) != seqBytes {
			return fmt.Errorf("frame lies at %x", k)
		}
		d.passed(b.Tx(), len(v))
		last := int64(binary.BigEndian.Uint64(k))
		s, err := decodeSealed(origin, last, v, last <= c.plain)
		if err != nil {
			return fmt.Errorf("frame up to %d: %w", last, err)
		}
		if s.Last <= c.floor {
			c.trim = true // left to delete
			return nil
		}
		if s.PrevRevision != at {
			return fmt.Errorf("frame up to %d continues %d, not %d", s.Last, s.PrevRevision, at)
		}
		at = s.Last
		c.txns += int64(s.Txns)
		c.bytes += int64(len(s.Bytes))
		c.frames = append(c.frames, frame{prev: s.PrevRevision, last: s.Last, stamp: s.Stamp, txns: c.txns, bytes: c.bytes})
		return nil
	})
	if err == nil && at != c.head {
		err = fmt.Errorf("frames end at %d, head is %d", at, c.head)
	}
	return c, err
}

func (d *disk) loadConflicts(b *bolt.Bucket, cfg *Config) error {
	l := &d.conflicts
	next := uint64(0)
	err := b.ForEach(func(k, v []byte) error {
		if len(k) != seqBytes {
			return fmt.Errorf("number has %d bytes, want %d", len(k), seqBytes)
		}
		n := binary.BigEndian.Uint64(k)
		if n != next {
			l.sizes, l.bytes = nil, 0 // an interrupted shrink left older ones
		}
		next = n + 1
		c, err := decodeConflict(n, v, n <= l.plain)
		if err != nil {
			return err
		}
		l.sizes = append(l.sizes, len(c))
		l.bytes += int64(len(c))
		return nil
	})
	if err == nil && len(l.sizes) > 0 && next-1 != l.total {
		err = errors.New("the newest entry is missing")
	}
	l.shrink(cfg.ConflictLogSize, cfg.ConflictLogBytes)
	return err
}
