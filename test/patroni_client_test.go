package test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"geogate/test/cluster"
)

// fields is a JSON object of a request or an answer.
type fields = map[string]any

// patroniTimeout is what Patroni gives each of three nodes with its default retry_timeout of 10 s.
const patroniTimeout = 3300 * time.Millisecond

// patroniClient sends what Patroni's etcd3 client sends, in the same words, to one node after the other.
type patroniClient struct {
	nodes []string // http://host:port; the first is the one in use
	http  *http.Client
	token string // as Patroni sends it: in the header authorization, without a scheme
}

func newPatroniClient(t *testing.T, nodes ...*cluster.Process) *patroniClient {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	p := &patroniClient{http: &http.Client{Transport: transport}}
	for _, n := range nodes {
		p.nodes = append(p.nodes, "http://"+n.Spec.Client)
	}
	return p
}

// etcdError is an answer that says no, as Patroni reads it.
type etcdError struct {
	status  int // of HTTP
	code    int // of gRPC
	text    string
	message string
}

func (e *etcdError) Error() string {
	return fmt.Sprintf("HTTP %d, code %d: %s", e.status, e.code, e.text)
}

// call asks the node in use, and the others when that can't be reached.
func (p *patroniClient) call(ctx context.Context, path string, body any) (fields, error) {
	var err error
	for i, node := range slices.Clone(p.nodes) {
		var answer fields
		if answer, err = p.ask(ctx, node, path, body); err == nil {
			if i > 0 {
				p.nodes[0], p.nodes[i] = p.nodes[i], p.nodes[0]
			}
			return answer, nil
		}
		if _, answered := err.(*etcdError); answered { //nolint:errorlint // ask returns it as it is
			return nil, err
		}
	}
	return nil, err
}

func (p *patroniClient) ask(ctx context.Context, node, path string, body any) (fields, error) {
	ctx, cancel := context.WithTimeout(ctx, patroniTimeout)
	defer cancel()
	resp, err := p.send(ctx, node, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var answer fields
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("%s: %w in %q", path, err, raw)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return nil, readEtcdError(resp.StatusCode, answer)
	}
	return answer, nil
}

// send posts the body, or gets when there is none.
func (p *patroniClient) send(ctx context.Context, node, path string, body any) (*http.Response, error) {
	method, raw := http.MethodGet, []byte(nil)
	if body != nil {
		method = http.MethodPost
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, node+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if p.token != "" {
		req.Header.Set("authorization", p.token)
	}
	return p.http.Do(req)
}

// readEtcdError reads an error as Patroni's _raise_for_data does: error and code, or, where error is an object
// because a stream ended, its grpc_code and message.
func readEtcdError(status int, answer fields) *etcdError {
	e := &etcdError{status: status, code: -1}
	switch inner := answer["error"].(type) {
	case map[string]any:
		if code, ok := inner["grpc_code"].(float64); ok {
			e.code = int(code)
		}
		if code, ok := inner["http_code"].(float64); ok {
			e.status = int(code)
		}
		e.text, _ = inner["message"].(string)
		e.message = e.text
	case string:
		e.text = inner
		if code, ok := answer["code"].(float64); ok {
			e.code = int(code)
		}
		e.message, _ = answer["message"].(string)
	}
	return e
}

func encode64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// encodeEnd is the end of the range of all keys with a prefix.
func encodeEnd(prefix string) string {
	return encode64(prefix[:len(prefix)-1] + string(prefix[len(prefix)-1]+1))
}

// number reads a 64-bit number, which JSON has as a string.
func number(v any) int64 {
	s, _ := v.(string)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func revisionOf(answer fields) int64 {
	head, _ := answer["header"].(fields)
	return number(head["revision"])
}

// stored is a key and its value as they are in an answer or an event.
type stored struct {
	key, value, lease string
	create, mod       int64
}

func readStored(v any) stored {
	kv, _ := v.(fields)
	text := func(name string) string {
		s, _ := kv[name].(string)
		raw, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return "?" + s
		}
		return string(raw)
	}
	lease, _ := kv["lease"].(string)
	return stored{text("key"), text("value"), lease, number(kv["create_revision"]), number(kv["mod_revision"])}
}

// allStored are the keys of a range's answer.
func allStored(answer fields) (out []stored) {
	kvs, _ := answer["kvs"].([]any)
	for _, kv := range kvs {
		out = append(out, readStored(kv))
	}
	return out
}

// grant, keepAlive, create and get are the four requests of which Patroni makes its leader.

func (p *patroniClient) grant(ctx context.Context, ttl int) (lease string, err error) {
	answer, err := p.call(ctx, "/v3/lease/grant", fields{"TTL": ttl})
	lease, _ = answer["ID"].(string)
	return lease, err
}

// keepAlive returns 0 for a lease that has ended.
func (p *patroniClient) keepAlive(ctx context.Context, lease string) (ttl int64, err error) {
	answer, err := p.call(ctx, "/v3/lease/keepalive", fields{"ID": lease})
	if err != nil {
		return 0, err
	}
	result, _ := answer["result"].(fields)
	return max(0, number(result["TTL"])), nil
}

func (p *patroniClient) create(ctx context.Context, key, value, lease string) (bool, error) {
	put := fields{"key": encode64(key), "value": encode64(value), "lease": lease}
	answer, err := p.call(ctx, "/v3/kv/txn", fields{
		"compare": []fields{{"target": "CREATE", "create_revision": 0, "key": encode64(key)}},
		"success": []fields{{"request_put": put}},
	})
	succeeded, _ := answer["succeeded"].(bool)
	return succeeded, err
}

func (p *patroniClient) get(ctx context.Context, key string) (*stored, error) {
	answer, err := p.call(ctx, "/v3/kv/range", fields{"key": encode64(key), "serializable": true})
	if kvs := allStored(answer); err == nil && len(kvs) > 0 {
		return &kvs[0], nil
	}
	return nil, err
}

// watch sends every event under a prefix from a revision on, until the caller wants no more.
func (p *patroniClient) watch(ctx context.Context, prefix string, from int64, each func(kind string, kv stored) bool, filters ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := p.send(ctx, p.nodes[0], "/v3/watch", fields{"create_request": fields{
		"key": encode64(prefix), "range_end": encodeEnd(prefix), "start_revision": from, "filters": append([]string{}, filters...),
	}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for messages := json.NewDecoder(resp.Body); ; {
		var m struct {
			Error  fields
			Result struct {
				Created bool
				Events  []struct {
					Type string
					KV   fields
				}
			}
		}
		if err := messages.Decode(&m); err != nil {
			return err
		}
		if m.Error != nil {
			return readEtcdError(0, fields{"error": m.Error})
		}
		for _, e := range m.Result.Events {
			if !each(e.Type, readStored(e.KV)) {
				return nil
			}
		}
	}
}
