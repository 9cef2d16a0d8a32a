package store

import "sync/atomic"

// arena is the bytes that one flush writes. bbolt keeps the values it is given until the commit, so an arena never
// moves; when it is over the next flush may have it.
type arena struct{ b []byte }

// maxArena is the largest arena that is kept for the next flush: many times what 100 ms bring.
const maxArena = 1 << 20

// arenas keeps one arena. A defragmentation writes beside the flusher: whoever finds none makes its own.
type arenas struct{ free atomic.Pointer[arena] }

// take returns an empty arena with room for size bytes.
func (p *arenas) take(size int) *arena {
	a := p.free.Swap(nil)
	if a == nil || cap(a.b) < size {
		a = &arena{b: make([]byte, 0, size+size/4)} // the next flush may bring somewhat more
	}
	return a
}

// give takes an arena back: nothing may refer to it any more.
func (p *arenas) give(a *arena) {
	if cap(a.b) > maxArena {
		return
	}
	a.b = a.b[:0]
	p.free.Store(a)
}

// since is what was appended behind a place.
func (a *arena) since(start int) []byte { return a.b[start:len(a.b):len(a.b)] }
