package verify

import (
	"slices"
	"time"
)

// Book keeps what is known of the comparison with one peer over many rounds.
type Book struct {
	proven []time.Time // by bucket: when it was last found equal; zero for never
	doubts map[int]int // by bucket: times that it was found different, without being found equal in between
	last   []Outcome
}

// Sure is how often a bucket must be found different before it counts.
const Sure = 2

// NewBook begins with nothing known.
func NewBook(buckets int) *Book {
	return &Book{proven: make([]time.Time, buckets), doubts: map[int]int{}, last: slices.Repeat([]Outcome{Pending}, buckets)}
}

// Round enters a comparison of two states that were read at or after a moment: of all buckets, or of those alone that
// are given, ascending. It returns the buckets that have been found different often enough, ascending.
func (b *Book) Round(at time.Time, r *Relation, mine, theirs *State, only []int) (found []int) {
	looked := 0
	for i := range b.last {
		if only != nil {
			if looked == len(only) || only[looked] != i {
				if b.doubts[i] >= Sure {
					found = append(found, i)
				}
				continue
			}
		}
		o := r.Bucket(mine, theirs, looked)
		looked++
		b.last[i] = o
		switch o {
		case Equal:
			b.proven[i] = at
			delete(b.doubts, i)
		case Different:
			b.doubts[i]++
		}
		if b.doubts[i] >= Sure {
			found = append(found, i)
		}
	}
	return found
}

// Open are the buckets that were not found equal when they were last looked at, or are in doubt; ascending.
func (b *Book) Open() (open []int) {
	for i, o := range b.last {
		if o != Equal || b.doubts[i] > 0 {
			open = append(open, i)
		}
	}
	return open
}

// Buckets is how many there are.
func (b *Book) Buckets() int { return len(b.proven) }

// Equal takes back a doubt: the keys of the bucket were compared one by one.
func (b *Book) Equal(bucket int) { delete(b.doubts, bucket) }

// Unsure says whether some bucket should be looked at again soon.
func (b *Book) Unsure() bool { return len(b.doubts) > 0 || slices.Contains(b.last, Pending) }

// Counts are how the buckets stand by the last round.
func (b *Book) Counts() (equal, pending, different int) {
	for i, o := range b.last {
		switch {
		case b.doubts[i] >= Sure:
			different++
		case o == Equal:
			equal++
		default:
			pending++
		}
	}
	return equal, pending, different
}

// ProvenSince is the number of buckets that were found equal at or after a moment.
func (b *Book) ProvenSince(at time.Time) (n int) {
	for _, p := range b.proven {
		if !p.IsZero() && !p.Before(at) {
			n++
		}
	}
	return n
}

// Oldest is the moment since which every bucket has been found equal at least once; false while some never was.
func (b *Book) Oldest() (time.Time, bool) {
	oldest := slices.MinFunc(b.proven, time.Time.Compare)
	return oldest, !oldest.IsZero()
}
