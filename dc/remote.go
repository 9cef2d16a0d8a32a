package dc

import (
	"fmt"

	"geogate/replication/event"
)

// maxGravesPerEntry bounds the tombstones that one confirm item may collect.
const maxGravesPerEntry = 10_000

// receive applies a frame of another DC. The chain check stands here, beside the effects, and not only in
// the receiver: whatever was proposed twice or out of order, the watermark moves once and without a gap.
func (a *applier) receive(payload []byte) (refusal, err error) {
	f, sealed, err := event.Open(payload)
	if err != nil {
		return nil, err // the proposer could read it: this build is older, and must not go on without it
	}
	if f.Origin == a.dc.cfg.Name {
		return fmt.Errorf("%w: frame of %s itself", event.ErrFrame, f.Origin), nil
	}
	at := a.dc.state.positions[f.Origin]
	at.Origin = f.Origin
	step, err := at.Next(&sealed)
	if err != nil {
		a.dc.metrics.frameRefused(f.Origin)
		return err, nil
	}
	if step == event.StepSkip {
		a.dc.metrics.frameRepeated(f.Origin)
		return nil, nil
	}
	conflicts, touched, err := merge(a.batch, f, a.dc.cfg.maxRequests())
	if err != nil {
		return nil, err
	}
	a.touched(f.Origin, touched)
	a.batch.AppendFrame(sealed)
	a.advance(&sealed)
	for i := range f.Txns {
		a.dc.state.high = max(a.dc.state.high, f.Txns[i].Stamp)
	}
	a.dc.metrics.frameApplied(&sealed, conflicts)
	return nil, nil
}

func (a *applier) confirm(payload, rawNote []byte) error {
	m, err := decodeMatrix(payload)
	if err != nil {
		return err
	}
	n, err := decodeNote(rawNote)
	if err != nil {
		return err
	}
	a.check(&n)
	a.trim(n.Trim)
	if err := a.endDegraded(n.Left); err != nil {
		return err
	}
	if len(m) == 0 || !a.dc.state.alive(n.Lives) {
		return nil
	}
	low := m.lowest()
	for origin, upTo := range low {
		a.batch.TrimFrames(origin, upTo)
	}
	stable, moved := a.dc.state.barrier.advance(low, m.heads())
	if !moved {
		return nil
	}
	if stable != nil {
		a.batch.DropGraves(stable, maxGravesPerEntry)
	}
	return a.saveBarrier()
}

func (a *applier) saveBarrier() error {
	raw, err := encodeBarrier(a.dc.state.barrier)
	if err != nil {
		return err
	}
	a.batch.SetMeta(metaBarrier, raw)
	return nil
}
