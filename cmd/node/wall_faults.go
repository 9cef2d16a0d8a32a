//go:build faults

package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// offsetFile holds, in the folder of a node's data, how far its wall clock is off: a duration such as 1h or -30s.
// Only a build for tests of faults has this.
const offsetFile = "clock-offset"

// rereadAfter is how long an offset is used before the file is read again.
const rereadAfter = 50 * time.Millisecond

// wallClock is a clock that is off by what a file says, from one moment to the next.
func wallClock(now func() time.Time, dir string, log *slog.Logger) func() time.Time {
	if now == nil {
		now = time.Now
	}
	path := filepath.Join(dir, offsetFile)
	log.Warn("this build is for tests: the wall clock is off by what a file says", "file", path)
	var mu sync.Mutex
	var offset time.Duration // guarded by mu, as below
	var read time.Time
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		if at := time.Now(); at.Sub(read) >= rereadAfter {
			read = at
			was := offset
			offset = readOffset(path, log)
			if offset != was {
				log.Warn("the wall clock was set", "from", was, "to", offset)
			}
		}
		return now().Add(offset)
	}
}

func readOffset(path string, log *slog.Logger) time.Duration {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0 // without a file it is right
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		log.Error("offset of the wall clock", "file", path, "error", err)
		return 0
	}
	return d
}
