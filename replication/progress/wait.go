package progress

// wait is one write that waits. It is released once ackedBy and err are final; all fields but done are
// guarded by the tracker's mutex until then.
type wait struct {
	judge    func() error // nil for none
	revision int64
	done     chan struct{} // closed by release
	told     Receiver      // takes the place of done, for who does not wait
	ackedBy  []string
	err      error
	index    int // in the queue; -1 once released
}

// release ends the wait; it is not in the queue any more.
func (w *wait) release() {
	if w.told != nil {
		w.told.Confirmed(w.ackedBy, w.err)
		return
	}
	close(w.done)
}

// queue is a min-heap by revision (container/heap).
type queue []*wait

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].revision < q[j].revision }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	w := x.(*wait)
	w.index = len(*q)
	*q = append(*q, w)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	w.index = -1
	return w
}
