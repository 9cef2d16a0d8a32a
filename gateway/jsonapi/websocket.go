package jsonapi

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	socketWriteTimeout = 10 * time.Second // for which a client may take nothing
	protocolHeader     = "Sec-Websocket-Protocol"
	bearer             = "Bearer"
)

// upgrader takes a browser's connection only from a page of the same host. etcd takes it from any page.
var upgrader = websocket.Upgrader{HandshakeTimeout: socketWriteTimeout, ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10}

// sockets lets a websocket stand for the body and the answer of one call, as in etcd: each message of the client is
// one of the request, each line of the answer a message to the client. The token of a user may come as the
// subprotocols "Bearer, TOKEN", since browsers set no headers.
func sockets(next http.Handler, limit int64, open *sync.WaitGroup) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !websocket.IsWebSocketUpgrade(r) {
			next.ServeHTTP(w, r)
			return
		}
		open.Add(1)
		defer open.Done()
		answer := http.Header{}
		token := tokenOf(r.Header.Get(protocolHeader))
		if token != "" {
			answer.Set(protocolHeader, bearer)
		}
		conn, err := upgrader.Upgrade(w, r, answer)
		if err != nil {
			return // the client was answered
		}
		conn.SetReadLimit(limit)
		serveSocket(next, conn, r, token)
	})
}

// tokenOf takes the token out of "Bearer, TOKEN"; some browsers leave out the space.
func tokenOf(protocols string) string {
	name, token, _ := strings.Cut(protocols, ",")
	if strings.TrimSpace(name) != bearer {
		return ""
	}
	return strings.TrimSpace(token)
}

// serveSocket makes the call, and closes the socket when that has ended; the call ends when the client goes.
func serveSocket(next http.Handler, conn *websocket.Conn, r *http.Request, token string) {
	ctx, cancel := context.WithCancel(r.Context())
	body, in := io.Pipe()
	call := r.Clone(ctx)
	call.Method, call.Body = http.MethodPost, body
	call.Header.Set("Content-Type", "application/json")
	for _, name := range []string{"Connection", "Upgrade", protocolHeader, "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions"} {
		call.Header.Del(name)
	}
	if token != "" {
		call.Header.Set("Authorization", bearer+" "+token)
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		defer cancel()
		for {
			_, message, err := conn.ReadMessage()
			if err == nil {
				_, err = in.Write(append(message, '\n'))
			}
			if err != nil {
				_ = in.Close() // never fails
				return
			}
			if !streams[r.URL.Path] { // its call waits for the end of the body
				_ = in.Close()
				_, _, _ = conn.ReadMessage() // the client has gone, or said what nobody takes
				return
			}
		}
	})
	out := &socketAnswer{conn: conn, header: http.Header{}}
	next.ServeHTTP(out, call)
	out.send(true)
	done := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = conn.WriteControl(websocket.CloseMessage, done, time.Now().Add(socketWriteTimeout)) // the client may have gone
	_ = body.Close()
	_ = conn.Close()
	cancel()
	reader.Wait()
}

// socketAnswer sends each line of an answer as a message of its own. Only the call's goroutine uses it.
type socketAnswer struct {
	conn   *websocket.Conn
	header http.Header
	buffer bytes.Buffer
	err    error
}

// Header is of nobody: there is no place for headers once the connection is a websocket.
func (a *socketAnswer) Header() http.Header { return a.header }

// WriteHeader does nothing: the error itself is in the message.
func (a *socketAnswer) WriteHeader(int) {}

func (a *socketAnswer) Write(b []byte) (int, error) {
	a.buffer.Write(b)
	a.send(false)
	return len(b), a.err
}

// Flush is what grpc-gateway asks for behind each message; whole lines have gone already.
func (a *socketAnswer) Flush() {}

// send sends the whole lines, and at the end what is left.
func (a *socketAnswer) send(end bool) {
	for a.err == nil && a.buffer.Len() > 0 {
		i := bytes.IndexByte(a.buffer.Bytes(), '\n')
		if i < 0 && !end {
			return
		}
		if i < 0 {
			i = a.buffer.Len()
		}
		line := a.buffer.Next(i)
		if len(line) > 0 {
			if a.err = a.conn.SetWriteDeadline(time.Now().Add(socketWriteTimeout)); a.err == nil {
				a.err = a.conn.WriteMessage(websocket.TextMessage, line)
			}
		}
		a.buffer.Next(1) // the end of the line
	}
}
