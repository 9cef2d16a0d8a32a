package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const readyRetry = 50 * time.Millisecond

// Errors of waiting.
var (
	ErrNotReady = errors.New("did not become ready")
	ErrAddress  = errors.New("an address was taken") // start again with other ports
)

// WaitReady returns once check does not fail any more. It gives up when the process ends or ctx does, and
// shows the end of the log then.
func (p *Process) WaitReady(ctx context.Context, check func(context.Context) error) error {
	tick := time.NewTicker(readyRetry)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			if strings.Contains(p.LogTail(), "address already in use") {
				return fmt.Errorf("%w: %w", ErrAddress, p.err)
			}
			return fmt.Errorf("%s %w: %w", p.name, ErrNotReady, cmp.Or(p.err, errors.New("it was stopped")))
		case <-ctx.Done():
			return fmt.Errorf("%s %w: %w: %w; the end of its log:\n%s", p.name, ErrNotReady, context.Cause(ctx), err, p.LogTail())
		case <-tick.C:
		}
	}
}

// Answers200 is a check: does a GET of url answer 200?
func Answers200(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }() // only read
		if resp.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // the status is the answer, the text a help
			return fmt.Errorf("GET %s: %s: %s", url, resp.Status, strings.TrimSpace(string(text)))
		}
		return nil
	}
}
