package dc

import (
	"bytes"
	"encoding/binary"

	"geogate/dc/store"
)

// cursorMark begins the places of an export that are not simply a key. The entries of the system table come
// behind all keys, and the remembered requests behind those. A key that begins with the mark is marked itself,
// so no key is taken for anything else.
const (
	cursorMark    = "\x00\xffgeogate\x00"
	cursorKey     = 'k'
	cursorSystem  = 's'
	cursorRequest = 'r' // a number (8 bytes, big endian), always in a bound
	cursorBound   = 'u' // a number (8 bytes, big endian), then one of the others
)

// place is from where an export goes on. Of the requests it gives those that were remembered when it began, up
// to number bound: all keys were read later, so whoever has merged them has the effects of these requests.
// The requests behind the bound come with the frames, as their effects do.
type place struct {
	key     []byte
	name    string
	request uint64
	bound   uint64 // 0: no requests
	phase   byte   // cursorKey, cursorSystem or cursorRequest
}

// cursorOfKey is the place behind a key.
func cursorOfKey(bound uint64, key []byte) []byte {
	if bytes.HasPrefix(key, []byte(cursorMark)) {
		key = marked(cursorKey, key)
	}
	return bounded(bound, key)
}

// cursorOfSystem is the place behind an entry of the system table; "" is before the first.
func cursorOfSystem(bound uint64, name string) []byte {
	return bounded(bound, marked(cursorSystem, []byte(name)))
}

// cursorOfRequest is the place behind a request; 0 is before the first.
func cursorOfRequest(bound, number uint64) []byte {
	return bounded(bound, marked(cursorRequest, encodeUint64(number)))
}

func bounded(bound uint64, cursor []byte) []byte {
	if bound == 0 {
		return cursor
	}
	return marked(cursorBound, append(encodeUint64(bound), cursor...))
}

func marked(what byte, rest []byte) []byte {
	return append(append([]byte(cursorMark), what), rest...)
}

// parseCursor reads what the functions above wrote; what they did not write is a key.
func parseCursor(b []byte) place {
	const number = 8
	rest, ok := bytes.CutPrefix(b, []byte(cursorMark))
	switch {
	case !ok || len(rest) == 0:
	case rest[0] == cursorKey:
		return place{phase: cursorKey, key: rest[1:]}
	case rest[0] == cursorSystem:
		return place{phase: cursorSystem, name: string(rest[1:])}
	case rest[0] == cursorRequest && len(rest) == 1+number:
		return place{phase: cursorRequest, request: binary.BigEndian.Uint64(rest[1:])}
	case rest[0] == cursorBound && len(rest) >= 1+number:
		p := parseCursor(rest[1+number:])
		p.bound = binary.BigEndian.Uint64(rest[1:])
		return p
	}
	return place{phase: cursorKey, key: b}
}

// part is what one chunk is made of.
type part struct {
	versions []store.Version
	system   []*store.SystemEntry
	requests []requestState
	last     []byte
	done     bool
	index    uint64
}

// exportPart reads what comes behind a place.
func (d *DC) exportPart(after []byte, since int64, maxBytes int) (part, error) {
	at := parseCursor(after)
	switch at.phase {
	case cursorSystem:
		e, err := d.store.ExportSystem(at.name, maxBytes)
		p := part{system: e.Entries, last: cursorOfSystem(at.bound, e.Last), done: e.Done, index: e.Index}
		p.toRequests(at.bound)
		return p, err
	case cursorRequest:
		return d.exportRequests(at.request, at.bound, since, maxBytes)
	}
	if len(after) == 0 {
		at.bound = d.store.RequestTotal() // before the first key is looked at
	}
	e, err := d.store.Export(at.key, since, maxBytes)
	if err != nil {
		return part{}, err
	}
	p := part{versions: e.Versions, last: cursorOfKey(at.bound, e.Last), done: e.Done, index: e.Index}
	if p.done && (since == 0 || len(d.store.System("")) > 0) { // that there is none is worth a chunk, see sweep.go
		p.last, p.done = cursorOfSystem(at.bound, ""), false
	}
	p.toRequests(at.bound)
	return p, nil
}

// toRequests goes on with the requests where everything else is done.
func (p *part) toRequests(bound uint64) {
	if p.done && bound > 0 {
		p.last, p.done = cursorOfRequest(bound, 0), false
	}
}
