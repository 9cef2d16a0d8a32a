package wire

import "geogate/replication/event"

// maxHistory is how much of a history can be a dictionary. It is part of the format.
const maxHistory = 16 << 10

// history is the beginning of the frames of a chain from one on, as one string of bytes: the dictionary under which
// later ones are compressed. A chain has one sequence of frames, so the revision behind which a history begins says what
// it holds, whoever wrote it down.
//
// Its bytes are only ever appended to, so what was handed out stays as it is.
type history struct {
	open  bool
	from  int64 // prev_revision of its first frame
	end   int64 // last revision of its last frame
	hash  event.Hash
	bytes []byte
}

func (h *history) begin(from int64) {
	*h = history{open: true, from: from, end: from, bytes: make([]byte, 0, maxHistory)}
}

// add takes the frame that continues the history; another one changes nothing.
func (h *history) add(f *event.Sealed) {
	if !h.open || f.PrevRevision != h.end {
		return
	}
	h.end, h.hash = f.Last, f.Hash
	h.bytes = append(h.bytes, f.Bytes[:min(len(f.Bytes), maxHistory-len(h.bytes))]...)
}

// has says whether it begins behind from-1, as shipments say it, and has so many bytes.
func (h *history) has(from uint64, n int) bool {
	return h.open && from == uint64(h.from)+1 && n <= len(h.bytes)
}

// first are its first n bytes.
func (h *history) first(n int) []byte { return h.bytes[:n:n] }
