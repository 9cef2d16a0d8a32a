package wire

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
	bytes []byte
}

func (h *history) begin(from int64) {
	*h = history{open: true, from: from, end: from, bytes: make([]byte, 0, maxHistory)}
}

// add takes the frame that continues the history; another one changes nothing.
func (h *history) add(prev, last int64, frame []byte) {
	if !h.open || prev != h.end {
		return
	}
	h.end = last
	h.bytes = append(h.bytes, frame[:min(len(frame), maxHistory-len(h.bytes))]...)
}

// first are its first n bytes.
func (h *history) first(n int) []byte { return h.bytes[:n:n] }
