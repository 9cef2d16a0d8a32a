package store

import (
	"bytes"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// reader reads versions and graves within one transaction.
type reader struct {
	tx      *bolt.Tx
	cursor  *bolt.Cursor
	origins []string
	key     [revKeyBytes]byte
}

func newReader(tx *bolt.Tx, origins []string) *reader {
	return &reader{tx: tx, cursor: tx.Bucket(bucketVersions).Cursor(), origins: origins}
}

// version reads one version; it outlives the transaction.
func (r *reader) version(main int64, sub uint32) (*Version, error) {
	want := appendRevKey(r.key[:0], main, sub)
	k, body := r.cursor.Seek(want)
	if !bytes.Equal(k, want) {
		return nil, fmt.Errorf("no record at revision %d.%d", main, sub)
	}
	return r.decode(main, sub, body)
}

func (r *reader) decode(main int64, sub uint32, body []byte) (*Version, error) {
	v := &Version{}
	origin, err := decodeRecord(main, sub, slices.Clone(body), v)
	if err != nil {
		return nil, err
	}
	if int(origin) >= len(r.origins) {
		return nil, fmt.Errorf("record at revision %d.%d has unknown origin %d", main, sub, origin)
	}
	v.Geo.Origin = r.origins[origin]
	return v, nil
}

func (r *reader) grave(key []byte) (Geo, error) {
	var g Geo
	at := storedKey(key)
	v := r.tx.Bucket(bucketGraves).Get(at)
	if v == nil {
		return g, fmt.Errorf("no grave of %q", key)
	}
	_, body, err := openStored(at, v)
	if err != nil {
		return g, err
	}
	origin, err := decodeGrave(key, slices.Clone(body), &g)
	if err != nil {
		return g, err
	}
	if int(origin) >= len(r.origins) {
		return g, fmt.Errorf("grave of %q has unknown origin %d", key, origin)
	}
	g.Origin = r.origins[origin]
	return g, nil
}
