package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
)

// Client controls a cluster that another process runs.
type Client struct {
	dir     string
	address address
}

// Attach finds the running cluster of a folder.
func Attach(dir string) (*Client, error) {
	if dir == "" {
		dir = DefaultDir
	}
	if !locked(dir) {
		return nil, notRunning(dir)
	}
	a, err := readAddress(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: the cluster in %s is starting or stopping; try again: %w", ErrNotRunning, dir, err)
	}
	return &Client{dir, a}, nil
}

func notRunning(dir string) error {
	return fmt.Errorf("%w: no dev cluster runs in %s; start one with `geogate dev --dir %s`, or give its --dir", ErrNotRunning, dir, dir)
}

func readAddress(dir string) (address, error) {
	data, err := os.ReadFile(filepath.Join(dir, controlName))
	if err != nil {
		return address{}, err
	}
	var a address
	return a, json.Unmarshal(data, &a)
}

// owner names the process that runs the cluster of dir, for a message.
func owner(dir string) string {
	a, err := readAddress(dir)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (process %d)", a.PID)
}

// State asks how the cluster is.
func (c *Client) State(ctx context.Context) (State, error) {
	var s State
	return s, c.call(ctx, http.MethodGet, "/v1/dev", nil, &s)
}

// Link changes a link; the words are those of [ParseChange].
func (c *Client) Link(ctx context.Context, a, b string, words []string) (LinkState, error) {
	var s LinkState
	return s, c.call(ctx, http.MethodPost, "/v1/links/"+url.PathEscape(a)+"/"+url.PathEscape(b), words, &s)
}

// Do stops, kills or starts a datacenter and returns its state then.
func (c *Client) Do(ctx context.Context, dc string, a Action) (string, error) {
	var s map[string]string
	err := c.call(ctx, http.MethodPost, "/v1/datacenters/"+url.PathEscape(dc), a, &s)
	return s[dc], err
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.address.Address+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.address.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		if !locked(c.dir) {
			return notRunning(c.dir)
		}
		return fmt.Errorf("reach the dev cluster in %s: %w", c.dir, err)
	}
	defer func() { _ = resp.Body.Close() }()
	d := json.NewDecoder(resp.Body)
	if resp.StatusCode == http.StatusOK {
		return d.Decode(out)
	}
	var f failure
	if err := d.Decode(&f); err != nil {
		return fmt.Errorf("the dev cluster in %s answered HTTP %s", c.dir, resp.Status)
	}
	switch resp.StatusCode {
	case http.StatusNotFound:
		return remote{f.Error, ErrUnknown}
	case http.StatusConflict:
		return remote{f.Error, ErrState}
	}
	return errors.New(f.Error)
}

// remote is an error of the other process, with its kind.
type remote struct {
	text string
	kind error
}

func (e remote) Error() string { return e.text }
func (e remote) Unwrap() error { return e.kind }

// Topology is the file with the cluster's topology.
func (c *Client) Topology() string { return filepath.Join(c.dir, topologyName) }
