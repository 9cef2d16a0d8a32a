package dc

import (
	"bytes"

	"geogate/dc/store"
)

// cursorMark begins the places of an export that are not simply a key. The entries of the system table come
// behind all keys. A key that begins with the mark is marked itself, so no key is taken for anything else.
const (
	cursorMark   = "\x00\xffgeogate\x00"
	cursorKey    = 'k'
	cursorSystem = 's'
)

// cursorOfKey is the place behind a key.
func cursorOfKey(key []byte) []byte {
	if bytes.HasPrefix(key, []byte(cursorMark)) {
		return marked(cursorKey, string(key))
	}
	return key
}

// cursorOfSystem is the place behind an entry of the system table; "" is before the first.
func cursorOfSystem(name string) []byte { return marked(cursorSystem, name) }

func marked(what byte, rest string) []byte {
	return append(append([]byte(cursorMark), what), rest...)
}

// parseCursor is the key, or the name of an entry, behind which an export goes on.
func parseCursor(b []byte) (key []byte, name string, system bool) {
	rest, ok := bytes.CutPrefix(b, []byte(cursorMark))
	switch {
	case !ok || len(rest) == 0:
		return b, "", false
	case rest[0] == cursorKey:
		return rest[1:], "", false
	case rest[0] == cursorSystem:
		return nil, string(rest[1:]), true
	}
	return b, "", false
}

// part is what one chunk is made of.
type part struct {
	versions []store.Version
	system   []*store.SystemEntry
	last     []byte
	done     bool
	index    uint64
}

// exportPart reads what comes behind a place.
func (d *DC) exportPart(after []byte, since int64, maxBytes int) (part, error) {
	key, name, system := parseCursor(after)
	if system {
		e, err := d.store.ExportSystem(name, maxBytes)
		return part{system: e.Entries, last: cursorOfSystem(e.Last), done: e.Done, index: e.Index}, err
	}
	e, err := d.store.Export(key, since, maxBytes)
	if err != nil {
		return part{}, err
	}
	p := part{versions: e.Versions, last: cursorOfKey(e.Last), done: e.Done, index: e.Index}
	if p.done && len(d.store.System("")) > 0 {
		p.last, p.done = cursorOfSystem(""), false
	}
	return p, nil
}
