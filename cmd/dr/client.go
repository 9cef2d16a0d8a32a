package dr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

const (
	maxReplyBytes = 16 << 20
	callTimeout   = 20 * time.Second
)

// Client asks one node's admin API.
type Client struct {
	Endpoint string // host:port
}

func (c Client) get(ctx context.Context, path string, q url.Values, into any) error {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return c.call(ctx, http.MethodGet, path, nil, into)
}

func (c Client) post(ctx context.Context, path string, v, into any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, path, body, into)
}

func (c Client) call(ctx context.Context, method, path string, body []byte, into any) error {
	if _, _, err := net.SplitHostPort(c.Endpoint); err != nil {
		return fmt.Errorf("the endpoint %q is not host:port, such as 127.0.0.1:24002", c.Endpoint)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Endpoint+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.Endpoint, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("nothing listens at %s; give --endpoint the admin address of a running node: %w", c.Endpoint, err)
	}
	if err != nil {
		return fmt.Errorf("no answer from %s: %w", c.Endpoint, err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end below
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReplyBytes))
	if err != nil {
		return fmt.Errorf("no answer from %s: %w", c.Endpoint, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: HTTP %s: %.600s", c.Endpoint, resp.Status, strings.TrimSpace(string(text)))
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("the answer of %s can't be read: %w (%.80q)", c.Endpoint, err, text)
	}
	return nil
}
