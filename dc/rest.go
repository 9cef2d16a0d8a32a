package dc

import (
	"context"
	"time"
)

// rest is what a goroutine does that has nothing to do before something is applied here or the leader changes: it
// waits for that, and then for a while, because under a load something is applied all the time. Both channels are
// taken before the goroutine looks for work; nil ones mean that there is some left, and only the while is waited for.
func (d *DC) rest(ctx context.Context, changed, moved <-chan struct{}, while time.Duration) {
	if changed != nil {
		select {
		case <-changed:
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
	t := time.NewTimer(while)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
