package dc

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPatienceEndsTheWaitForACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue(1 << 20)
		stuck := add(t, q, kindPut, "one")
		ctx := WithRequestID(WithPatience(t.Context(), 3*time.Second), "id")
		began := time.Now()
		r := q.wait(ctx, stuck)
		if !errors.Is(r.err, ErrUnknownOutcome) || !errors.Is(r.err, context.DeadlineExceeded) {
			t.Errorf("got %v", r.err)
		}
		if waited := time.Since(began); waited != 3*time.Second {
			t.Errorf("waited %s", waited)
		}
		if q.take(1, 1<<20) != nil {
			t.Error("a write that nobody waits for any more was taken")
		}

		answered := add(t, q, kindPut, "two")
		answered.done <- result{commit: Commit{Revision: 7}}
		if r := q.wait(ctx, answered); r.err != nil || r.commit.Revision != 7 {
			t.Errorf("got %+v", r)
		}

		left, leave := context.WithCancel(WithPatience(t.Context(), time.Hour))
		leave()
		if r := q.wait(left, add(t, q, kindPut, "three")); !errors.Is(r.err, context.Canceled) {
			t.Errorf("got %v", r.err)
		}
	})
}
