package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc/metadata"
)

// socket opens a websocket at node i.
func (s *site) socket(i int, path string, head http.Header) (*websocket.Conn, error) {
	s.t.Helper()
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.dial(ctx, s.nodes[i].addr) }}
	conn, resp, err := d.DialContext(s.t.Context(), "ws://node"+path, head)
	if resp != nil {
		_ = resp.Body.Close()
	}
	if err == nil {
		s.t.Cleanup(func() { _ = conn.Close() })
	}
	return conn, err
}

// say sends a message and returns the next answer.
func say(t *testing.T, conn *websocket.Conn, message string) string {
	t.Helper()
	if message != "" {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(waitLimit)); err != nil {
		t.Fatal(err)
	}
	_, answer, err := conn.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestWebsockets(t *testing.T) {
	s := newRealSites(t, 3)
	c, ctx := s.everywhere(), patientContext(t)
	lease, err := c.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := s.socket((s.leaderIndex()+1)%3, "/v3/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, key := range []string{"a", "b"} { // two watches on one socket
		if got := say(t, watch, fmt.Sprintf(`{"create_request":{"key":%q}}`, b64(key))); !strings.Contains(got, `"created":true`) || i > 0 && !strings.Contains(got, `"watch_id":"1"`) {
			t.Errorf("created %s", got)
		}
	}
	for _, key := range []string{"a", "b"} {
		if _, err := c.Put(ctx, key, "v\nw"); err != nil { // ends of lines in values are in base64
			t.Fatal(err)
		}
		if got := say(t, watch, ""); !strings.Contains(got, b64(key)) || !strings.Contains(got, b64("v\nw")) {
			t.Errorf("event %s", got)
		}
	}
	if got := say(t, watch, `{"cancel_request":{"watch_id":"1"}}`); !strings.Contains(got, `"canceled":true`) {
		t.Errorf("canceled %s", got)
	}
	eventually(t, "one watch to end", func() bool { return s.watches() == 1 })
	if err := watch.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the watch to end with its socket", func() bool { return s.watches() == 0 })

	alive, err := s.socket(0, "/v3/lease/keepalive", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := say(t, alive, fmt.Sprintf(`{"ID":"%d"}`, lease.ID)); !strings.Contains(got, `"TTL":"60"`) {
			t.Errorf("kept alive %s", got)
		}
	}
	if got := say(t, alive, "}"); !strings.Contains(got, `"grpc_code":3`) {
		t.Errorf("what is no message: %s", got)
	}
	if _, _, err := alive.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("after the end: %v", err)
	}

	once, err := s.socket(0, "/v3/kv/range", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := say(t, once, fmt.Sprintf(`{"key":%q}`, b64("a"))); !strings.Contains(got, `"count":"1"`) {
		t.Errorf("a call that is no stream: %s", got)
	}
	if _, err := s.socket(0, "/v3/watch", http.Header{"Origin": {"http://elsewhere.example"}}); err == nil {
		t.Error("a page of another host was let in")
	}
}

func TestWebsocketsAreBoundedAndEnd(t *testing.T) {
	s := newSite(t, 1, func(c *Config) { c.MaxRequestBytes = 1000 })
	big, err := s.socket(0, "/v3/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := big.WriteMessage(websocket.TextMessage, make([]byte, 3000)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := big.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Errorf("a message that is too large: %v", err)
	}
	// The token of a browser.
	s.rooted(t)
	md, _ := metadata.FromOutgoingContext(s.withToken(0, "root", "rootpw"))
	token := md.Get("token")[0]
	for protocol, want := range map[string]string{"Bearer, " + token: `"created":true`, "": "user name is empty"} {
		head := http.Header{}
		if protocol != "" {
			head.Set("Sec-WebSocket-Protocol", protocol)
		}
		conn, err := s.socket(0, "/v3/watch", head)
		if err != nil {
			t.Fatal(err)
		}
		answer := say(t, conn, fmt.Sprintf(`{"create_request":{"key":%q}}`, b64("a")))
		if want == "user name is empty" { // as in etcd: the watch is created and canceled
			if !strings.Contains(answer, want) {
				answer = say(t, conn, "")
			}
		}
		if !strings.Contains(answer, want) {
			t.Errorf("with %.12q: %s", protocol, answer)
		}
		if protocol != "" && conn.Subprotocol() != "Bearer" {
			t.Errorf("subprotocol %q", conn.Subprotocol())
		}
	}
	if err := s.nodes[0].stop(); err != nil { // with watches that are open
		t.Error(err)
	}
}

// What curl does: one long body, answers line by line while it is still being sent.
func TestJSONStreamsLineByLine(t *testing.T) {
	s := newRealSites(t, 3)
	lease, err := s.everywhere().Grant(patientContext(t), 60)
	if err != nil {
		t.Fatal(err)
	}
	body, in := io.Pipe()
	defer func() { _ = in.Close() }()
	req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, "http://node/v3/lease/keepalive", body)
	if err != nil {
		t.Fatal(err)
	}
	message := fmt.Appendf(nil, `{"ID":%d}`+"\n", lease.ID)
	go func() { _, _ = in.Write(message) }() // the answer's head comes with the first line
	resp, err := s.browser(1).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		if i > 0 {
			if _, err := in.Write(message); err != nil {
				t.Fatal(err)
			}
		}
		var answer struct {
			Result struct{ TTL string }
		}
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &answer) != nil || answer.Result.TTL != "60" {
			t.Fatalf("line %d: %q, %v", i, lines.Text(), lines.Err())
		}
	}
}
