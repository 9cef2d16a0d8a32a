package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
)

const maxReplyBytes = 4 << 20

// Fetch asks the admin port at endpoint (host:port) and returns the report together with the JSON it came in.
func Fetch(ctx context.Context, endpoint string) (*Report, json.RawMessage, error) {
	if _, _, err := net.SplitHostPort(endpoint); err != nil {
		return nil, nil, fmt.Errorf("the endpoint %q is not host:port, such as 127.0.0.1:24002", endpoint)
	}
	url := "http://" + endpoint + "/v1/status"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("ask %s: %w", url, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, nil, fmt.Errorf("nothing listens at %s; give --endpoint the admin address of a running node: %w", endpoint, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("no status from %s: %w", endpoint, err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end below
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReplyBytes))
	if err != nil {
		return nil, nil, fmt.Errorf("no status from %s: %w", endpoint, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("no status from %s: HTTP %s: %.200s", endpoint, resp.Status, strings.TrimSpace(string(body)))
	}
	var r Report
	if err := json.Unmarshal(body, &r); err != nil || r.DC == "" {
		return nil, nil, fmt.Errorf("the reply of %s is not a geogate status: is this a geogate admin port? (%.80q)", endpoint, body)
	}
	return &r, json.RawMessage(body), nil
}
