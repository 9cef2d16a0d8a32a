package gateway

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// browser speaks HTTP/1.1 to node i.
func (s *site) browser(i int) *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.dial(ctx, s.nodes[i].addr)
	}}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// call posts a body and gives the answer's fields.
func call(t *testing.T, c *http.Client, path, body string, headers ...string) (code int, head http.Header, fields map[string]any) {
	t.Helper()
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(testContext(t), method, "http://node"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatalf("%s: %q: %v", path, raw, err)
	}
	return resp.StatusCode, resp.Header, fields
}

func TestJSONPutAndRange(t *testing.T) {
	s := newSite(t, 2, nil)
	s.peers.ack("dc-b", 100)
	c := s.browser(1) // does not lead: the write is forwarded
	code, head, fields := call(t, c, "/v3/kv/put?policy=quorum&timeout=5s", fmt.Sprintf(`{"key":%q,"value":%q}`, b64("a"), b64("1")))
	if code != http.StatusOK || fields["header"].(map[string]any)["revision"] != "2" {
		t.Errorf("put: %d %v", code, fields)
	}
	if head.Get("Geogate-Policy") != "QUORUM" || !strings.HasPrefix(head.Get("Geogate-Token"), "dc-a:") || head.Get("Geogate-Acked-By") == "" {
		t.Errorf("receipt: %v", head)
	}
	code, head, fields = call(t, c, "/v3/kv/put", fmt.Sprintf(`{"key":%q,"value":%q}`, b64("a"), b64("2")), "Geogate-Policy", "async")
	if code != http.StatusOK || head.Get("Geogate-Policy") != "ASYNC" {
		t.Fatalf("policy in a header: %d %v %v", code, head, fields)
	}
	_, _, fields = call(t, c, "/v3/kv/range", fmt.Sprintf(`{"key":%q,"unknown_field":1}`, b64("a")))
	kv := fields["kvs"].([]any)[0].(map[string]any)
	if kv["value"] != b64("2") || kv["mod_revision"] != "3" || kv["create_revision"] != "2" || fields["count"] != "1" {
		t.Errorf("range: %v", fields)
	}
}

func TestJSONTxn(t *testing.T) {
	s := newSite(t, 1, nil)
	body := fmt.Sprintf(`{"compare":[{"key":%q,"target":"CREATE","create_revision":"0"}],"success":[{"requestPut":{"key":%q,"value":%q}}]}`,
		b64("a"), b64("a"), b64("1"))
	if _, _, fields := call(t, s.browser(0), "/v3/kv/txn", body); fields["succeeded"] != true {
		t.Errorf("first: %v", fields)
	}
	if _, _, fields := call(t, s.browser(0), "/v3/kv/txn", body); fields["succeeded"] == true {
		t.Errorf("second: %v", fields)
	}
}

func TestJSONErrors(t *testing.T) {
	s := newSite(t, 1, func(c *Config) { c.MaxRequestBytes = 4 << 10 })
	big := strings.Repeat("x", 5<<10)
	for _, c := range []struct {
		path, body, text string
		code             int
	}{
		{"/v3/kv/put", `{}`, "etcdserver: key is not provided", 400},
		{"/v3/kv/put", `{"key":"***"}`, "invalid value for bytes field key", 400},
		{"/v3/kv/put", `{"key`, "unexpected EOF", 400},
		{"/v3/kv/put", `[]`, "unexpected token", 400},
		{"/v3/kv/put", fmt.Sprintf(`{"key":"YQ==","value":%q}`, b64(big)), "etcdserver: request is too large", 400},
		{"/v3/kv/put", fmt.Sprintf(`{"key":"YQ==","value":%q}`, b64(big+big)), "too large", 400},
		{"/v3/kv/range", fmt.Sprintf(`{"key":%q,"revision":"99"}`, b64("a")), "etcdserver: mvcc: required revision is a future revision", 400},
		{"/v3/nowhere", `{}`, "Not Found", 404},
	} {
		code, _, fields := call(t, s.browser(0), c.path, c.body)
		text, _ := fields["error"].(string)
		if code != c.code || !strings.Contains(text, c.text) || fields["message"] != text || fields["code"] == nil {
			t.Errorf("%s %.60s: %d %v, want %d %q", c.path, c.body, code, fields, c.code, c.text)
		}
	}
	code, _, fields := call(t, s.browser(0), "/v3/kv/put?policy=most", fmt.Sprintf(`{"key":%q}`, b64("a")))
	if text, _ := fields["error"].(string); code != 400 || !strings.Contains(text, "geogate-policy") {
		t.Errorf("unknown policy: %d %v", code, fields)
	}
}

// What a write whose policy was not met says in gRPC, it says here too.
func TestJSONPolicyNotMet(t *testing.T) {
	s := newSite(t, 1, nil)
	code, head, fields := call(t, s.browser(0), "/v3/kv/put?policy=all&timeout=20ms", fmt.Sprintf(`{"key":%q}`, b64("a")))
	details, _ := fields["details"].([]any)
	if code != 400 || head.Get("Geogate-Token") == "" || len(details) != 1 || details[0].(map[string]any)["reason"] != "POLICY_NOT_MET" {
		t.Errorf("%d %v %v", code, head, fields)
	}
}

// Each message of a stream is there when it happens, and on a line of its own.
func TestJSONWatch(t *testing.T) {
	s := newSite(t, 1, nil)
	req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, "http://node/v3/watch",
		strings.NewReader(fmt.Sprintf(`{"create_request":{"key":%q,"range_end":%q}}`, b64("a"), b64("b"))))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.browser(0).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewReader(resp.Body)
	next := func() string {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(line, " ", "")
	}
	if line := next(); !strings.Contains(line, `"created":true`) {
		t.Errorf("first: %s", line)
	}
	for i := range 3 {
		call(t, s.browser(0), "/v3/kv/put", fmt.Sprintf(`{"key":%q,"value":%q}`, b64("ab"), b64(fmt.Sprint(i))))
		if line := next(); !strings.Contains(line, b64(fmt.Sprint(i))) {
			t.Errorf("event %d: %s", i, line)
		}
	}
}

func TestVersionAndHealth(t *testing.T) {
	s := newSite(t, 1, func(c *Config) {
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	})
	c := s.browser(0)
	_, _, v := call(t, c, "/version", "")
	for _, field := range []string{"etcdserver", "etcdcluster"} {
		var parts [3]int
		if n, err := fmt.Sscanf(v[field].(string), "%d.%d.%d", &parts[0], &parts[1], &parts[2]); n != 3 || err != nil || parts[0] != 3 {
			t.Errorf("%s: %v", field, v[field])
		}
	}
	if code, _, h := call(t, c, "/health", ""); code != http.StatusOK || h["health"] != "true" || h["reason"] != "" {
		t.Errorf("health: %d %v", code, h)
	}
	s.data.lead(0)
	if code, _, h := call(t, c, "/health", ""); code != http.StatusServiceUnavailable || h["health"] != "false" || h["reason"] != "RAFT NO LEADER" {
		t.Errorf("without a leader: %d %v", code, h)
	}
	if code, _, h := call(t, c, "/health?serializable=true", ""); code != http.StatusOK || h["health"] != "true" {
		t.Errorf("this node alone: %d %v", code, h)
	}
	if code, _, _ := call(t, c, "/metrics", ""); code != http.StatusOK {
		t.Errorf("metrics: %d", code)
	}
}

// What can't be read ends a stream with the reason, instead of leaving the client to wait.
func TestJSONStreamWithBadMessage(t *testing.T) {
	s := newSite(t, 1, func(c *Config) { c.MaxRequestBytes = 4 << 10 })
	good := fmt.Sprintf(`{"create_request":{"key":%q}}`, b64("a"))
	for body, want := range map[string]string{
		`{"create_request":{"key":"` + strings.Repeat("A", 64<<10) + `"}}`: "larger than 8192 bytes",
		`{"create_request":{"key":"***"}}`:                                 "invalid value for bytes field key",
		`{"create_req`:                                                     "unexpected EOF",
	} {
		for _, before := range []string{"", good} {
			resp, err := s.browser(0).Post("http://node/v3/watch", "application/json", strings.NewReader(before+body))
			if err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			// Both grpc-gateway 1's names and grpc-gateway 2's.
			if !strings.Contains(string(raw), want) || !strings.Contains(string(raw), `"grpc_code":3,"http_code":400,`) || !strings.Contains(string(raw), `"code":3,`) {
				t.Errorf("%.40s: %d %.200q, want %q", body, resp.StatusCode, raw, want)
			}
		}
	}
}
