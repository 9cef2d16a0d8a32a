package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// FuzzJSON sends any body to any path of the HTTP handler, with any header, over a real datacenter of one node. It
// must answer within its time; below /v3/ in JSON, and with no code that blames the server.
func FuzzJSON(f *testing.F) {
	s := newRealSites(f, 1)
	s.leaderIndex()
	conn := s.conn(0)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.dial(ctx, s.nodes[0].addr)
	}}}
	f.Cleanup(client.CloseIdleConnections)
	for _, seed := range [][3]string{
		{"/v3/kv/put", `{"key":"aw==","value":"dg==","lease":"-1","prev_kv":true}`, "ASYNC"},
		{"/v3/kv/range", `{"key":"AA==","range_end":"AA==","limit":"-9223372036854775808","sort_order":99}`, ""},
		{"/v3/kv/range", `{"key":"aw==","sort_target":"NONE","revision":1e400}`, ""},
		{"/v3/kv/txn", `{"compare":[null,{"key":"aw==","target":"VALUE"}],"success":[null,{},{"request_put":{"key":"aw=="}},{"request_txn":{}}]}`, ""},
		{"/v3/kv/txn", strings.Repeat(`{"success":[{"request_txn":`, 60) + "{}" + strings.Repeat("}]}", 60), ""},
		{"/v3/kv/compaction?timeout=-1s&policy=%00", `{"revision":"2","physical":true}`, "SOMETIMES"},
		{"/v3/lease/grant", `{"ID":"5","TTL":"1"}{"ID":`, ""},
		{"/v3/lease/keepalive", `{"ID":"5"}{"ID":"6"}x`, ""},
		{"/v3/watch", `{"create_request":{"key":"aw==","filters":["NOPUT",7]}}{"cancel_request":{"watch_id":"-1"}}`, ""},
		{"/v3/auth/user/add", `{"name":"\ud800","password":"p"}`, "\x00"},
		{"/v3/cluster/member/add", `{"peerURLs":[null,""]}`, ""},
		{"/v3/maintenance/alarm", `{"action":7,"alarm":"NOSPACE"}`, ""},
		{"/v3/%2e%2e/health", "", ""},
		{"/health?serializable=true&exclude=NOSPACE", "", ""},
		{"/version", "[", ""},
	} {
		f.Add(seed[0], []byte(seed[1]), seed[2])
	}
	f.Fuzz(func(t *testing.T, path string, body []byte, header string) {
		u, err := url.Parse(path)
		if err != nil || u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return // no such request can be sent
		}
		u.Scheme, u.Host = "http", "gateway"
		ctx, cancel := context.WithTimeout(t.Context(), fuzzLimit)
		defer cancel()
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
			if err != nil {
				return
			}
			for _, name := range []string{"Geogate-Policy", "Geogate-Timeout", "Authorization", "Content-Type", "Grpc-Timeout"} {
				req.Header.Set(name, header)
			}
			start := time.Now()
			resp, err := client.Do(req)
			if took := time.Since(start); took > fuzzHang {
				t.Fatalf("%s %s took %s", method, u, took)
			}
			if err != nil {
				continue // a header that can't be sent, or a stream that waits for its client
			}
			judgeJSON(t, req, resp)
		}
		alive(t, conn)
	})
}

func judgeJSON(t *testing.T, req *http.Request, resp *http.Response) {
	t.Helper()
	raw, err := io.ReadAll(resp.Body)
	if cerr := resp.Body.Close(); err != nil || cerr != nil {
		return // the stream of a watch ends with the request
	}
	switch {
	case resp.StatusCode == http.StatusInternalServerError && !strings.Contains(string(raw), "bcrypt"):
		t.Errorf("%s %s: %s: %s", req.Method, req.URL, resp.Status, raw)
	case strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json"):
		for d := json.NewDecoder(bytes.NewReader(raw)); ; {
			var v any
			if err := d.Decode(&v); err == io.EOF {
				break
			} else if err != nil {
				t.Errorf("%s %s: %v in %q", req.Method, req.URL, err, raw)
				break
			}
		}
	}
}
