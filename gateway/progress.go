package gateway

import (
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// maxRounds bounds how often a round is repeated because events overtook it. When they always do, there is
// no answer: the events themselves tell the client how far it is.
const maxRounds = 8

// progressRound answers one progress request of a client: every watch of the stream reports how far it has
// delivered everything, and the least of it is the answer.
type progressRound struct {
	waiting map[*watch]bool // have not reported yet
	least   int64
	again   bool // another request came meanwhile
	tries   int
}

// requestProgress starts a round, or has the one under way followed by another. A stream without watches
// gives no answer, as in etcd.
func (ws *watchStream) requestProgress() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.progress != nil {
		ws.progress.again = true
		return
	}
	ws.startRoundLocked(1)
}

func (ws *watchStream) startRoundLocked(try int) {
	if len(ws.watches) == 0 {
		return
	}
	round := &progressRound{waiting: make(map[*watch]bool, len(ws.watches)), least: math.MaxInt64, tries: try}
	for _, w := range ws.watches {
		round.waiting[w] = true
	}
	ws.progress = round
	for w := range round.waiting {
		w.ask(askRound)
	}
}

// report is called by the watch's goroutine while it holds no event. A watch that is behind reports to the
// round later, when it has caught up; a periodic report is skipped.
func (w *watch) report(asked int) {
	ws := w.stream
	revision, synced := w.source.Progress()
	revision = min(revision, ws.dc.Revision()) // a watch of the future is not ahead of the store
	if asked&askPeriodic != 0 && synced {
		ws.sendMu.Lock()
		if !w.ended {
			_ = ws.sendLocked(&pb.WatchResponse{Header: ws.header(revision), WatchId: w.id}) // fails only when the stream has ended
		}
		ws.sendMu.Unlock()
	}
	if asked&askRound == 0 {
		return
	}
	if !synced {
		time.AfterFunc(progressRetry, func() { w.ask(askRound) })
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if round := ws.progress; round != nil && round.waiting[w] {
		delete(round.waiting, w)
		round.least = min(round.least, revision)
		ws.endRoundLocked()
	}
}

// dropFromRoundLocked lets a round go on without a watch that has ended.
func (ws *watchStream) dropFromRoundLocked(w *watch) {
	if round := ws.progress; round != nil && round.waiting[w] {
		delete(round.waiting, w)
		ws.endRoundLocked()
	}
}

// endRoundLocked answers a round that is complete. Progress that is behind an event that another watch of
// the stream has sent already would look as if revisions ran back, so the round is repeated then.
func (ws *watchStream) endRoundLocked() {
	round := ws.progress
	if len(round.waiting) > 0 {
		return
	}
	ws.progress = nil
	if round.least < math.MaxInt64 { // some watch has reported
		ws.sendMu.Lock()
		behind := round.least < ws.lastSent
		if !behind {
			_ = ws.sendLocked(&pb.WatchResponse{Header: ws.header(round.least), WatchId: noWatchID}) // fails only when the stream has ended
		}
		ws.sendMu.Unlock()
		if behind && round.tries < maxRounds {
			ws.startRoundLocked(round.tries + 1)
			if ws.progress != nil {
				ws.progress.again = round.again
			}
			return
		}
	}
	if round.again {
		ws.startRoundLocked(1)
	}
}
