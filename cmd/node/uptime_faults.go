//go:build faults

package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// rateFile holds, in the folder of a node's data, how fast the clock of its leases runs: 0.95 is 5 % slow. Only a
// build for tests of faults has this.
const rateFile = "clock-rate"

// uptime is the clock of a home's lease, running as fast as a file says. It never goes back.
func uptime(dir string, log *slog.Logger) func() time.Duration {
	path := filepath.Join(dir, rateFile)
	var mu sync.Mutex
	var shown float64 // guarded by mu, as below
	last, read, rate := time.Now(), time.Time{}, 1.0
	return func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		shown += float64(now.Sub(last)) * rate
		last = now
		if now.Sub(read) >= rereadAfter {
			read = now
			was := rate
			rate = readRate(path, log)
			if rate != was {
				log.Warn("the rate of the lease's clock was set", "from", was, "to", rate)
			}
		}
		return time.Duration(shown)
	}
}

func readRate(path string, log *slog.Logger) float64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 1 // without a file it is right
	}
	text := strings.TrimSpace(string(b))
	rate, err := strconv.ParseFloat(text, 64)
	if err != nil || rate <= 0 {
		if text != "" {
			log.Error("rate of the lease's clock", "file", path, "found", text, "error", err)
		}
		return 1
	}
	return rate
}
