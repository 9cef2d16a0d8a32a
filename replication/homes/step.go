package homes

import "slices"

// Step takes an acceptor's reply. Replies may come late, twice, never, or to a command of an earlier move; those
// that don't belong to the present phase change nothing.
func (m *Move) Step(from string, r Reply) {
	if r.Keyspace != m.keyspace || !m.cfg.votes(from) || m.phase == Done || m.phase == Aborted || m.phase == Lost {
		return
	}
	if m.phase == Announcing {
		m.stepAnnouncing(from, r)
		return
	}
	if r.Epoch != m.known.Epoch || r.Ballot != m.ballot {
		return
	}
	switch r.Answer {
	case Behind:
		m.phase, m.winner = Lost, r.Decided
		return
	case Refused:
		m.refused(from, r)
		return
	}
	switch m.phase {
	case Claiming, Preparing:
		m.stepPreparing(from, r)
	case Fetching:
		m.extended = m.extended || r.Answer == Extended && from == m.cfg.Self
	case Stopping:
		if r.Answer == Drained && from == m.cfg.Self {
			m.cut, m.phase = r.Watermark, CatchingUp
		}
	case Resuming:
		if r.Answer == Resumed && from == m.cfg.Self {
			m.phase = Aborted
		}
	case Conceding, Accepting:
		m.stepAccepting(from, r)
	}
}

// refused ends the move, except when an acceptor refuses without having promised more than this ballot.
func (m *Move) refused(from string, r Reply) {
	own := from == m.cfg.Self
	if r.Promised.Compare(m.ballot) > 0 || own && (m.phase == Claiming || m.phase == Conceding || m.phase == Stopping || m.phase == Resuming) {
		m.phase, m.rival = Lost, r.Promised
	}
}

func (m *Move) stepAnnouncing(from string, r Reply) {
	switch {
	case r.Answer == Learned && r.Epoch == m.winner.Epoch, r.Answer == Behind:
		// Behind here means that it knows of a later decision.
		if !slices.Contains(m.learned, from) {
			m.learned = append(m.learned, from)
			slices.Sort(m.learned)
		}
	}
	if len(m.learned) == len(m.cfg.Voters) {
		m.phase = Done
	}
}

func (m *Move) stepPreparing(from string, r Reply) {
	if r.Answer != Promised || m.phase == Claiming && from != m.cfg.Self {
		return
	}
	m.phase = Preparing
	if slices.ContainsFunc(m.promises, func(p promise) bool { return p.from == from }) {
		return
	}
	m.promises = append(m.promises, promise{from, r})
	if !m.flaws.has(cutFromOne) {
		slices.SortFunc(m.promises, func(a, b promise) int {
			if a.from < b.from {
				return -1
			}
			return 1
		})
	}
	m.choose()
}

// choose picks the value once enough have promised: the one of the highest ballot that any of them voted for, and
// only when none did, the own target with the highest watermark of the old home as the cut.
func (m *Move) choose() {
	if len(m.promises) < m.cfg.Majority() {
		return
	}
	var vote Proposal
	cut, reports := int64(0), 0
	for _, p := range m.promises {
		if v := p.reply.Vote; v.Value.Epoch != 0 && (vote.Value.Epoch == 0 || v.Ballot.Compare(vote.Ballot) > 0) {
			vote = v
		}
		if p.reply.Data && !m.cfg.witness(p.from) {
			if reports++; reports == 1 || !m.flaws.has(cutFromOne) {
				cut = max(cut, p.reply.Watermark)
			}
		}
	}
	switch {
	case vote.Value.Epoch != 0:
		m.value = vote.Value
	case m.known.Epoch > 0 && reports < m.cfg.Reports():
		return // witnesses alone don't know what was acknowledged
	default:
		m.value = next(m.known, m.target, cut, m.settled)
	}
	if m.value.Home.DC == m.cfg.Self && len(m.value.Past) > 0 {
		m.phase = Fetching
	} else {
		m.phase = Accepting
	}
}

func (m *Move) stepAccepting(from string, r Reply) {
	if r.Answer != Accepted || m.phase == Conceding && from != m.cfg.Self {
		return
	}
	m.phase = Accepting
	if !slices.Contains(m.voted, from) {
		m.voted = append(m.voted, from)
		slices.Sort(m.voted)
	}
	if len(m.voted) >= m.cfg.Majority() {
		m.phase, m.winner = Announcing, m.value
	}
}
