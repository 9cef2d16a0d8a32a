package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"geogate/dc"
	"geogate/gateway/admin"
	"geogate/replication"
	rule "geogate/replication/verify"
)

const maxReplyBytes = 16 << 20

// report is what one datacenter says of all others.
type report struct {
	DC    string                     `json:"dc"`
	Node  string                     `json:"node"`
	Peers []replication.Verification `json:"peers"`
	Error string                     `json:"peers_error"`

	Keyspaces []string `json:"keyspaces"` // their prefixes

	Replica dc.ReplicaCheck `json:"replica"` // of the node that was asked
}

func fetch(ctx context.Context, endpoint string) (*report, error) {
	var r report
	if err := call(ctx, http.MethodGet, endpoint, "/v1/verify?run=true", nil, &r); err != nil {
		return nil, err
	}
	if r.DC == "" {
		return nil, fmt.Errorf("%s does not answer as a geogate admin port does; give --endpoint the admin address of a node", endpoint)
	}
	return &r, nil
}

func repair(ctx context.Context, endpoint, from string, seen rule.Copy) (applied bool, err error) {
	body, err := json.Marshal(admin.Repair{From: from, Seen: seen})
	if err != nil {
		return false, err
	}
	var answer struct {
		Applied bool `json:"applied"`
	}
	err = call(ctx, http.MethodPost, endpoint, "/v1/repair", bytes.NewReader(body), &answer)
	return answer.Applied, err
}

func call(ctx context.Context, method, endpoint, path string, body io.Reader, into any) error {
	url := "http://" + endpoint + path
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return fmt.Errorf("the endpoint %q is not host:port, such as 127.0.0.1:24002: %w", endpoint, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no answer from %s; give --endpoint the admin address of a running node: %w", endpoint, err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end below
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReplyBytes))
	if err != nil {
		return fmt.Errorf("no answer from %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: HTTP %s: %.300s", url, resp.Status, strings.TrimSpace(string(text)))
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("the answer of %s can't be read: %w (%.80q)", url, err, text)
	}
	return nil
}
