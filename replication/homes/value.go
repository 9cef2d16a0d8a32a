package homes

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// Life is a datacenter with one incarnation of its data. A datacenter restored from a backup is another life, and
// is not the home that it was before.
type Life struct {
	DC          string
	Incarnation uint64
}

func (l Life) String() string { return fmt.Sprintf("%s/%016x", l.DC, l.Incarnation) }

// Tenure is a past epoch of a keyspace: who was home, and the origin revision up to which its writes count.
type Tenure struct {
	Epoch uint64
	Home  Life
	Cut   int64
}

// Value is what a register holds: the home in an epoch, and how the epochs before it ended. The zero Value is
// epoch 0: no datacenter is home yet.
type Value struct {
	Epoch  uint64
	Home   Life
	Forced bool     // by an operator, without a majority; see [Force]
	Past   []Tenure // ascending epochs; older ones are dropped once every datacenter has applied their writes
}

func (v Value) String() string {
	if v.Epoch == 0 {
		return "no home yet"
	}
	s := fmt.Sprintf("home %s in epoch %d", v.Home, v.Epoch)
	if v.Forced {
		s += " (forced)"
	}
	if n := len(v.Past); n > 0 {
		s += fmt.Sprintf(", writes of %s count up to revision %d", v.Past[n-1].Home, v.Past[n-1].Cut)
	}
	return s
}

// Cut is the tenure that this value ended; false in the first epoch.
func (v Value) Cut() (Tenure, bool) {
	if len(v.Past) == 0 {
		return Tenure{}, false
	}
	return v.Past[len(v.Past)-1], true
}

// Compare orders values: the higher epoch wins. Without force there is one value per epoch; two values forced
// apart from each other may share one, and then every datacenter picks the same by name, incarnation and bytes.
func (v Value) Compare(w Value) int {
	if c := cmp.Compare(v.Epoch, w.Epoch); c != 0 {
		return c
	}
	if v.Forced != w.Forced {
		if v.Forced {
			return 1
		}
		return -1
	}
	if c := cmp.Compare(v.Home.DC, w.Home.DC); c != 0 {
		return c
	}
	if c := cmp.Compare(v.Home.Incarnation, w.Home.Incarnation); c != 0 {
		return c
	}
	if slices.Equal(v.Past, w.Past) {
		return 0
	}
	return bytes.Compare(v.encode(), w.encode())
}

// Equal says whether both are the same decision.
func (v Value) Equal(w Value) bool { return v.Compare(w) == 0 }

// diverges says that v and w can't both have been decided: same epoch, neither forced, and not equal.
func (v Value) diverges(w Value) bool {
	return v.Epoch == w.Epoch && !v.Forced && !w.Forced && !v.Equal(w)
}

// follows says whether v may be proposed on top of known: the next epoch, the tenure of known ended by a cut, and
// nothing of the past invented.
func (v Value) follows(known Value) error {
	switch {
	case v.Epoch != known.Epoch+1:
		return fmt.Errorf("%w: value is of epoch %d, the next one is %d", ErrInvalid, v.Epoch, known.Epoch+1)
	case v.Home.DC == "":
		return fmt.Errorf("%w: value names no home", ErrInvalid)
	case v.Forced:
		return fmt.Errorf("%w: a forced value is never voted on", ErrInvalid)
	}
	past := v.Past
	if known.Epoch > 0 {
		t, ok := v.Cut()
		if !ok || t.Epoch != known.Epoch || t.Home != known.Home {
			return fmt.Errorf("%w: value doesn't say where epoch %d of %s ends", ErrInvalid, known.Epoch, known.Home)
		}
		past = past[:len(past)-1]
	}
	if len(past) > len(known.Past) || !slices.Equal(past, known.Past[len(known.Past)-len(past):]) {
		return fmt.Errorf("%w: value has another past than epoch %d", ErrInvalid, known.Epoch)
	}
	return nil
}

// next is the value that moves a keyspace from known to home. Tenures up to epoch settled are dropped.
func next(known Value, home Life, cut int64, settled uint64) Value {
	v := Value{Epoch: known.Epoch + 1, Home: home}
	for _, t := range known.Past {
		if t.Epoch > settled {
			v.Past = append(v.Past, t)
		}
	}
	if known.Epoch > 0 {
		v.Past = append(v.Past, Tenure{Epoch: known.Epoch, Home: known.Home, Cut: cut})
	}
	return v
}

// Marks tells the highest origin revision of a life that this datacenter has applied with nothing missing below;
// 0 for none. It must read the same replicated state that commands are applied to. A nil Marks is a witness's.
type Marks func(Life) int64

// Covered says whether all that counts of the past has been applied: only then may the home of the value open,
// and any datacenter apply writes of its epoch.
func (v Value) Covered(marks Marks) bool {
	return marks != nil && !slices.ContainsFunc(v.Past, func(t Tenure) bool { return marks(t.Home) < t.Cut })
}
