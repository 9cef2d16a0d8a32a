package replication

import (
	"context"
	"fmt"
	"sync"
	"time"

	"geogate/replication/homes"
	"geogate/replication/registrar"
)

// Asides is what this DC has set aside of its keyspaces' writes. It is safe for concurrent use.
type Asides interface {
	Asides() ([]homes.Aside, error)
}

// AsideAt is what one DC has set aside.
type AsideAt struct {
	DC        string          `json:"dc"`
	Keyspaces []AsideKeyspace `json:"keyspaces"`       // those of which it has something
	Error     string          `json:"error,omitempty"` // why that is not known
}

// AsideKeyspace is [homes.Aside] with an age, by the clock of the DC that has it.
type AsideKeyspace struct {
	homes.Aside
	Age float64 `json:"oldest_age_seconds"`
}

// asideTimeout bounds the question to another DC. A dead one must not make operators wait.
const asideTimeout = 2 * time.Second

// AsideEverywhere asks all DCs that hold data what they have set aside; the answers are in their order by name, this DC's
// own one first.
func (e *Engine) AsideEverywhere(ctx context.Context) ([]AsideAt, error) {
	l := e.current.Load()
	switch {
	case l == nil:
		return nil, ErrNotLeading
	case e.cfg.Asides == nil:
		return nil, fmt.Errorf("%w: the configuration has none", registrar.ErrKeyspace)
	}
	ctx, cancel := context.WithTimeout(ctx, asideTimeout)
	defer cancel()
	out := []AsideAt{{DC: e.cfg.Local}}
	for _, name := range l.order {
		if !l.peers[name].witness {
			out = append(out, AsideAt{DC: name})
		}
	}
	var asking sync.WaitGroup
	for i := range out {
		at := &out[i]
		asking.Go(func() {
			var err error
			if at.DC == e.cfg.Local {
				at.Keyspaces, err = e.asideHere()
			} else {
				err = l.ask(ctx, at.DC, methodAside, struct{}{}, &at.Keyspaces)
			}
			if err != nil {
				at.Error = err.Error()
			}
		})
	}
	asking.Wait()
	return out, nil
}

func (e *Engine) asideHere() ([]AsideKeyspace, error) {
	if e.cfg.Asides == nil {
		return nil, fmt.Errorf("%w: %s has none", registrar.ErrKeyspace, e.cfg.Local)
	}
	list, err := e.cfg.Asides.Asides()
	if err != nil {
		return nil, err
	}
	out := []AsideKeyspace{}
	for _, a := range list {
		out = append(out, AsideKeyspace{Aside: a, Age: max(0, e.cfg.Wall().Sub(a.Oldest).Seconds())})
	}
	return out, nil
}
