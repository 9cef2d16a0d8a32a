package watch

import (
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// maxRounds bounds how often a round is repeated because events overtook it. When they always do, there
	// is no answer: the events themselves tell the client how far it is.
	maxRounds = 16
	// progressRetry is how soon a watch that is behind, and sends nothing, looks again how far it is.
	progressRetry = 20 * time.Millisecond
)

// progressRound answers one progress request of a client: every watch of the stream reports how far it has
// delivered everything, and the least of it is the answer. It is not below what the store had when the
// client asked, so a watch that reads history reports when it is through.
type progressRound struct {
	waiting map[*watch]bool // have not reported yet
	floor   int64           // reports below do not count
	least   int64
	again   bool // another request came meanwhile
	tries   int
}

// requestProgress starts a round, or has the one under way followed by another. A stream without watches
// gives no answer, as in etcd.
func (st *stream) requestProgress() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.progress != nil {
		st.progress.again = true
		return
	}
	st.startRoundLocked(st.source.Revision(), 1)
}

func (st *stream) startRoundLocked(floor int64, try int) {
	if len(st.watches) == 0 {
		return
	}
	round := &progressRound{waiting: make(map[*watch]bool, len(st.watches)), floor: floor, least: math.MaxInt64, tries: try}
	for _, w := range st.watches {
		round.waiting[w] = true
	}
	st.progress = round
	for w := range round.waiting {
		w.ask(askRound)
	}
}

// report is called by the watch's goroutine while it holds no event. A periodic report of a watch that is
// behind is skipped; one to the round is owed until the watch has caught up.
func (w *watch) report(asked int) {
	st := w.stream
	revision, synced := w.source.Progress()
	if asked&askPeriodic != 0 && synced {
		st.sendMu.Lock()
		if !w.ended {
			h := st.cfg.Header(st.reachedLocked(revision))
			_ = st.sendLocked(&pb.WatchResponse{Header: h, WatchId: w.id}) // fails only when the stream has ended
		}
		st.sendMu.Unlock()
	}
	if w.owes = w.owes || asked&askRound != 0; !w.owes {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	round := st.progress
	if round == nil || !round.waiting[w] {
		w.owes = false
		return
	}
	if revision < round.floor {
		w.lookAgain()
		return
	}
	w.owes = false
	delete(round.waiting, w)
	round.least = min(round.least, revision)
	st.endRoundLocked()
}

// lookAgain makes the watch report later even if it has nothing to send until then.
func (w *watch) lookAgain() {
	if w.retry == nil {
		w.retry = time.AfterFunc(progressRetry, func() { w.ask(askRound) })
		return
	}
	w.retry.Reset(progressRetry)
}

// dropFromRoundLocked lets a round go on without a watch that has ended.
func (st *stream) dropFromRoundLocked(w *watch) {
	if round := st.progress; round != nil && round.waiting[w] {
		delete(round.waiting, w)
		st.endRoundLocked()
	}
}

// endRoundLocked answers a round that is complete. Progress that is behind an event that another watch of
// the stream has sent already would look as if revisions ran back, so the round is repeated then.
func (st *stream) endRoundLocked() {
	round := st.progress
	if len(round.waiting) > 0 {
		return
	}
	st.progress = nil
	if round.least < math.MaxInt64 { // some watch has reported
		st.sendMu.Lock()
		sent := st.lastSent
		behind := round.least < sent
		if !behind {
			h := st.cfg.Header(st.reachedLocked(round.least))
			_ = st.sendLocked(&pb.WatchResponse{Header: h, WatchId: NoID}) // fails only when the stream has ended
		}
		st.sendMu.Unlock()
		if behind && round.tries < maxRounds {
			st.startRoundLocked(sent, round.tries+1)
			if st.progress != nil {
				st.progress.again = round.again
			}
			return
		}
	}
	if round.again {
		st.startRoundLocked(st.source.Revision(), 1)
	}
}

// reachedLocked holds back the progress of a watch that starts in the future: no header may be ahead of the
// store. The caller holds sendMu.
func (st *stream) reachedLocked(progress int64) int64 {
	return min(progress, max(st.source.Revision(), st.lastSent))
}
