package lease

import (
	"container/heap"
	"time"
)

// Schedule is when leases end, as the leader counts it. Times must come from one monotonic clock.
//
// A leader that takes over gives each lease what was left of it at its last checkpoint: keepalives leave no
// trace in the log, so it can't know better. Long leases are checkpointed from time to time; without that, a
// lease whose holder is dead would begin anew with every change of leader.
type Schedule struct {
	every  time.Duration // between checkpoints of a lease
	timers map[int64]*timer
	queue  queue // of all timers but those that are being revoked
}

// timer is one lease's time.
type timer struct {
	lease    Lease
	deadline time.Time
	look     time.Time // of the next checkpoint, or the deadline when that is earlier
	place    int       // in the queue; -1: handed out by Due, to be revoked
}

// NewSchedule starts to count for a leader that takes over now. Every lease gets grace on top, for the
// time in which there was no leader to renew it.
func NewSchedule(t *Table, now time.Time, grace, every time.Duration) *Schedule {
	s := &Schedule{every: every, timers: make(map[int64]*timer, t.Len()), queue: make(queue, 0, t.Len())}
	for _, l := range t.leases {
		tm := &timer{lease: l, place: len(s.queue)}
		s.set(tm, now, seconds(l.Left())+grace)
		s.timers[l.ID] = tm
		s.queue = append(s.queue, tm)
	}
	heap.Init(&s.queue)
	return s
}

// seconds is a duration; MaxTTL fits into one.
func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

func (s *Schedule) set(tm *timer, now time.Time, left time.Duration) {
	tm.deadline = now.Add(left)
	tm.look = tm.deadline
	if left > s.every {
		tm.look = now.Add(s.every)
	}
}

// Grant starts a lease.
func (s *Schedule) Grant(l Lease, now time.Time) {
	s.Drop(l.ID)
	tm := &timer{lease: l}
	s.set(tm, now, seconds(l.TTL))
	s.timers[l.ID] = tm
	heap.Push(&s.queue, tm)
}

// Drop ends a lease that was revoked.
func (s *Schedule) Drop(id int64) {
	tm := s.timers[id]
	if tm == nil {
		return
	}
	delete(s.timers, id)
	if tm.place >= 0 {
		heap.Remove(&s.queue, tm.place)
	}
}

// Checkpointed takes note of what the log has as the rest of a lease.
func (s *Schedule) Checkpointed(l Lease) {
	if tm := s.timers[l.ID]; tm != nil {
		tm.lease.Remaining = l.Remaining
	}
}

// Alive finds a lease whose time is not over. One whose time is over is lost, even before it is revoked.
func (s *Schedule) Alive(id int64, now time.Time) (Lease, bool) {
	tm := s.timers[id]
	if tm == nil || tm.place < 0 || !now.Before(tm.deadline) {
		return Lease{}, false
	}
	return tm.lease, true
}

// Renew gives a lease that is alive all of its time again. The log must not have a checkpoint of it any more:
// the next leader would count from there.
func (s *Schedule) Renew(id int64, now time.Time) (ttl int64, ok bool) {
	l, ok := s.Alive(id, now)
	if !ok || l.Remaining != 0 {
		return 0, false
	}
	tm := s.timers[id]
	s.set(tm, now, seconds(l.TTL))
	heap.Fix(&s.queue, tm.place)
	return l.TTL, true
}

// Left is what remains of a lease, 0 when its time is over.
func (s *Schedule) Left(id int64, now time.Time) (time.Duration, bool) {
	tm := s.timers[id]
	if tm == nil {
		return 0, false
	}
	return max(tm.deadline.Sub(now), 0), true
}

// Due hands out, of each kind up to a number, the leases that are to be revoked, and checkpoints to be made.
// Each is handed out once; see Retry. more says that the number was reached.
func (s *Schedule) Due(now time.Time, most int) (expired, checkpoints []Lease, more bool) {
	for len(s.queue) > 0 && !s.queue[0].look.After(now) {
		tm := s.queue[0]
		if len(expired) == most || len(checkpoints) == most {
			return expired, checkpoints, true
		}
		left := tm.deadline.Sub(now)
		if left <= 0 {
			heap.Pop(&s.queue) // sets place to -1
			expired = append(expired, tm.lease)
			continue
		}
		s.set(tm, now, left)
		heap.Fix(&s.queue, 0)
		c := tm.lease
		c.Remaining = int64((left + time.Second - 1) / time.Second) // never less than is left
		if c.Remaining < tm.lease.Left() {
			checkpoints = append(checkpoints, c)
		}
	}
	return expired, checkpoints, false
}

// Retry takes back a lease that Due handed out and that could not be revoked: the next Due has it again.
func (s *Schedule) Retry(l Lease) {
	if tm := s.timers[l.ID]; tm != nil && tm.place < 0 && tm.lease.Granted == l.Granted {
		heap.Push(&s.queue, tm)
	}
}

// queue is the timers in the order in which something is to be done.
type queue []*timer

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].look.Before(q[j].look) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *queue) Push(x any) {
	tm := x.(*timer)
	tm.place = len(*q)
	*q = append(*q, tm)
}

func (q *queue) Pop() any {
	old := *q
	tm := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	tm.place = -1
	return tm
}
