package dc

import "sync"

// leadership is who leads this DC, as told by consensus.
type leadership struct {
	mu      sync.Mutex
	changed chan struct{} // guarded by mu, as all below; closed and replaced on each change
	term    uint64
	leader  uint64
	leading bool
}

func (l *leadership) set(term, leader uint64, leading bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == term && l.leader == leader && l.leading == leading {
		return
	}
	l.term, l.leader, l.leading = term, leader, leading
	close(l.changed)
	l.changed = make(chan struct{})
}

// Leading says whether this node orders the DC's writes, and in which term.
func (d *DC) Leading() (term uint64, ok bool) {
	d.leadership.mu.Lock()
	defer d.leadership.mu.Unlock()
	return d.leadership.term, d.leadership.leading
}

// Leader is the Raft id of the node that leads, as far as this node knows; 0 when it does not.
func (d *DC) Leader() uint64 {
	d.leadership.mu.Lock()
	defer d.leadership.mu.Unlock()
	return d.leadership.leader
}

// LeadershipChanged is closed at the next change; take it before reading [DC.Leading] or [DC.Leader].
func (d *DC) LeadershipChanged() <-chan struct{} {
	d.leadership.mu.Lock()
	defer d.leadership.mu.Unlock()
	return d.leadership.changed
}
