package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// A key may be as long as a request, but bbolt refuses keys of more than 32 KiB, and a flush that it refuses ends
// the store on every replica. So where a bucket is ordered by what users name, an entry with a longer key lies at
// the beginning of the key and a hash of all of it, together exactly longKeyBytes, and its value begins with the
// key. Shorter keys are never that long, so the two can't meet.
const longKeyBytes = bolt.MaxKeySize

// storedKey is where the entry of a key lies.
func storedKey(key []byte) []byte {
	if len(key) < longKeyBytes {
		return key
	}
	sum := sha256.Sum256(key)
	k := make([]byte, 0, longKeyBytes)
	return append(append(k, key[:longKeyBytes-len(sum)]...), sum[:]...)
}

// storedValue is what lies there.
func storedValue(key, body []byte) []byte {
	if len(key) < longKeyBytes {
		return body
	}
	v := make([]byte, 0, binary.MaxVarintLen64+len(key)+len(body))
	v = binary.AppendUvarint(v, uint64(len(key)))
	return append(append(v, key...), body...)
}

// openStored gives back key and body, which are slices of what is passed. The checksum in the body covers the key.
func openStored(k, v []byte) (key, body []byte, err error) {
	if len(k) != longKeyBytes {
		return k, v, nil
	}
	n, size := binary.Uvarint(v)
	if size <= 0 || n < longKeyBytes || n > uint64(len(v)-size) {
		return nil, nil, fmt.Errorf("long key %.20q: %w", k, errShort)
	}
	key, body = v[size:size+int(n)], v[size+int(n):]
	if !bytes.Equal(k, storedKey(key)) {
		return nil, nil, fmt.Errorf("long key %.20q lies at another one's place", key)
	}
	return key, body, nil
}
