package dev

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// The control server lets other processes of the same user change links and datacenters:
//
//	GET  /v1/dev                     {"datacenters": {NAME: STATE}, "links": [LinkState]}
//	POST /v1/links/{a}/{b}           ["cut"] or ["rtt=60ms", "bandwidth=10MB"]; answers the LinkState
//	POST /v1/datacenters/{name}      "stop", "kill" or "start"; answers {NAME: STATE}
//
// A failure answers {"error": TEXT}. It listens on loopback only and wants the token of the control file, which
// only the owner can read: a web page could reach the port, but not the token.
type control struct {
	cluster  *Cluster
	listener net.Listener
	address  address
}

const controlName = "control.json"

// address is the content of the control file.
type address struct {
	PID     int    `json:"pid"`
	Address string `json:"address"`
	Token   string `json:"token"`
}

// State is how a cluster is now.
type State struct {
	Datacenters map[string]string `json:"datacenters"`
	Links       []LinkState       `json:"links"`
}

// openControl listens and writes the control file.
func openControl(c *Cluster) (*control, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for control: %w", err)
	}
	s := &control{cluster: c, listener: l, address: address{PID: os.Getpid(), Address: l.Addr().String(), Token: rand.Text()}}
	data, err := json.Marshal(s.address)
	if err == nil {
		err = writeFile(c.folder.path(controlName), data)
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("write the control file: %w", err)
	}
	return s, nil
}

// run serves until ctx ends and the actions under way are done.
func (s *control) run(ctx context.Context) error {
	srv := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(s.listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("control server: %w", err)
	case <-ctx.Done():
	}
	err := srv.Shutdown(context.WithoutCancel(ctx))
	if serr := <-done; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return err
}

// close removes the control file.
func (s *control) close() error {
	_ = s.listener.Close() // closed already when it ran
	return os.Remove(s.cluster.folder.path(controlName))
}

func (s *control) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/dev", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, State{s.cluster.State(), s.cluster.links.State()}, nil)
	})
	mux.HandleFunc("POST /v1/links/{a}/{b}", func(w http.ResponseWriter, r *http.Request) {
		var words []string
		if !read(w, r, &words) {
			return
		}
		change, err := ParseChange(words)
		if err != nil {
			reply(w, nil, err)
			return
		}
		state, err := s.cluster.links.Set(r.PathValue("a"), r.PathValue("b"), change)
		reply(w, state, err)
	})
	mux.HandleFunc("POST /v1/datacenters/{name}", func(w http.ResponseWriter, r *http.Request) {
		var action Action
		if !read(w, r, &action) {
			return
		}
		name := r.PathValue("name")
		err := s.cluster.Do(name, action)
		reply(w, map[string]string{name: s.cluster.State()[name]}, err)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+s.address.Token)) != 1 {
			http.Error(w, `{"error": "wrong token"}`, http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

const maxControlBytes = 64 << 10

func read(w http.ResponseWriter, r *http.Request, v any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBytes)).Decode(v)
	if err != nil {
		reply(w, nil, fmt.Errorf("read the request: %w", err))
	}
	return err == nil
}

// reply answers with v, or with err. A client that is gone does not care.
func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case err == nil:
	case errors.Is(err, ErrUnknown):
		w.WriteHeader(http.StatusNotFound)
	case errors.Is(err, ErrState):
		w.WriteHeader(http.StatusConflict)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
	if err != nil {
		v = failure{err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v)
}

type failure struct {
	Error string `json:"error"`
}
