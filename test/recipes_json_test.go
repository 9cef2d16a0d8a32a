package test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// compareRecipes has one lock and one election go through both servers over JSON, and compares what happened and which
// fields the answers have.
func compareRecipes(t *testing.T, ours, theirs string) {
	t.Helper()
	var told [2]string
	for i, at := range []string{theirs, ours} {
		p := newPatroniClient(t)
		p.nodes = []string{"http://" + at}
		r := &recipes{t: t, p: p}
		r.lock()
		r.elect()
		told[i] = strings.Join(r.told, "\n")
	}
	if told[0] != told[1] {
		t.Errorf("locks and elections over JSON\n--- etcd\n%s\n--- geogate\n%s", told[0], told[1])
	}
}

// recipes writes down what happens at one server.
type recipes struct {
	t    *testing.T
	p    *patroniClient
	told []string
}

func (r *recipes) tell(format string, args ...any) {
	r.told = append(r.told, fmt.Sprintf(format, args...))
}

// ask makes one call, and writes down the fields of the answer, or the error.
func (r *recipes) ask(path string, body fields) fields {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	return r.report(path, r.answer(ctx, path, body))
}

// reply is how a call ended.
type reply struct {
	fields fields
	err    error
}

func (r *recipes) answer(ctx context.Context, path string, body fields) reply {
	resp, err := r.p.send(ctx, r.p.nodes[0], path, body)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	var answer fields
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return reply{err: err}
	}
	if resp.StatusCode >= 400 {
		return reply{err: fmt.Errorf("HTTP %d, %v: %v", resp.StatusCode, answer["code"], answer["message"])} //nolint:err113 // is compared as text
	}
	return reply{fields: answer}
}

func (r *recipes) report(path string, a reply) fields {
	r.t.Helper()
	if errors.Is(a.err, context.DeadlineExceeded) {
		r.t.Errorf("%s: %v", path, a.err)
	}
	if a.err != nil {
		r.tell("%s: %v", path, a.err)
		return fields{}
	}
	var names []string
	fieldNames("", a.fields, &names)
	slices.Sort(names)
	r.tell("%s: %s", path, strings.Join(names, " "))
	return a.fields
}

// start makes a call that has to wait for another one.
func (r *recipes) start(path string, body fields) <-chan reply {
	done := make(chan reply, 1)
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	go func() {
		defer cancel()
		done <- r.answer(ctx, path, body)
	}()
	return done
}

// waiting waits until so many keys are under a name: whoever waits for its turn has one.
func (r *recipes) waiting(name string, n int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		answer, err := r.p.ask(ctx, r.p.nodes[0], "/v3/kv/range", fields{"key": encode64(name + "/"), "range_end": encodeEnd(name + "/")})
		if err != nil {
			r.t.Fatalf("%d keys under %s: %v", n, name, err)
		}
		if len(allStored(answer)) == n {
			return
		}
	}
}

func (r *recipes) lock() {
	const name = "json-mutex"
	first := r.ask("/v3/lock/lock", fields{"name": encode64(name)})
	second := r.start("/v3/lock/lock", fields{"name": encode64(name)})
	r.waiting(name, 2)
	select {
	case a := <-second:
		r.t.Errorf("a second owner of the lock: %v", a)
	default:
	}
	r.ask("/v3/lock/unlock", fields{"key": first["key"]})
	owner := r.report("second lock", <-second)
	r.tell("the key is %s", nameOf(owner["key"]))
	r.ask("/v3/lock/unlock", fields{"key": owner["key"]})
	r.ask("/v3/lock/lock", fields{"name": encode64(name), "lease": "77"})
	r.ask("/v3/lock/unlock", fields{})
	r.waiting(name, 0)
}

func (r *recipes) elect() {
	const name = "json-seat"
	seat := fields{"name": encode64(name)}
	r.ask("/v3/election/leader", seat)
	r.ask("/v3/election/proclaim", fields{"value": encode64("nobody")})
	won := r.ask("/v3/election/campaign", fields{"name": encode64(name), "value": encode64("a")})
	leader, _ := won["leader"].(fields)
	r.tell("the leader's key is %s", nameOf(leader["key"]))

	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	stream, err := r.p.send(ctx, r.p.nodes[0], "/v3/election/observe", seat)
	if err != nil {
		r.t.Fatal(err)
	}
	defer stream.Body.Close()
	messages := json.NewDecoder(stream.Body)
	observe := func() {
		var m struct{ Result struct{ KV fields } }
		if err := messages.Decode(&m); err != nil {
			r.t.Errorf("observe: %v", err)
		}
		r.tell("observed %s", readStored(m.Result.KV).value)
	}
	observe()
	r.ask("/v3/election/proclaim", fields{"leader": leader, "value": encode64("b")})
	observe()
	r.tell("the leader is %s", readStored(r.ask("/v3/election/leader", seat)["kv"]).value)
	next := r.start("/v3/election/campaign", fields{"name": encode64(name), "value": encode64("c")})
	r.waiting(name, 2)
	r.ask("/v3/election/resign", fields{"leader": leader})
	winner, _ := r.report("second campaign", <-next)["leader"].(fields)
	observe()
	r.ask("/v3/election/proclaim", fields{"leader": leader, "value": encode64("late")}) // leads no more
	r.ask("/v3/election/resign", fields{"leader": winner})
	r.ask("/v3/election/leader", seat)
}

// fieldNames lists the fields of an answer, inner ones after their names.
func fieldNames(under string, f fields, out *[]string) {
	for name, v := range f {
		if inner, ok := v.(fields); ok {
			fieldNames(under+name+".", inner, out)
			continue
		}
		*out = append(*out, under+name)
	}
}

// nameOf is a key of a lock or an election without the lease in it.
func nameOf(key any) string {
	s, _ := key.(string)
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return err.Error()
	}
	name, _, _ := strings.Cut(string(raw), "/")
	return name
}
