//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/anishathalye/porcupine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/test/faults/check"
)

// register reads, sets and swaps the registers of a datacenter through one node, which may be the one that
// is cut off from all others.
func (l *load) register(ctx context.Context, rnd *rand.Rand, dc string, n *node) {
	l.registerIn(ctx, rnd, registersIn{prefix: registersPrefix + dc, name: dc, policy: "ASYNC", keys: registersPerDC}, n)
}

// registersIn are some registers that are judged together.
type registersIn struct {
	prefix, name, policy string
	keys                 int
	reads                bool                  // and nothing else
	enter                func(context.Context) // waits until the next operation may begin; nil for never
	after                time.Duration         // a pause behind an operation without answer: many of them can't be judged
}

// registerIn does so with some registers.
func (l *load) registerIn(ctx context.Context, rnd *rand.Rand, r registersIn, n *node) {
	client, seen := l.newClient(n.dc), map[string]string{}
	for i := 0; ctx.Err() == nil; i++ {
		if r.enter != nil {
			r.enter(ctx)
		}
		key := fmt.Sprintf("%s/%d", r.prefix, rnd.IntN(r.keys))
		call := check.Call{Key: key, Op: check.Read}
		if draw := rnd.IntN(10); draw >= 4 && !r.reads {
			call.Op, call.Value = check.Set, fmt.Sprintf("%d.%d", client, i)
			if draw >= 6 {
				call.Op, call.Expect = check.Swap, seen[key]
			}
		}
		op := porcupine.Operation{ClientId: client, Input: call, Call: int64(time.Since(l.start))}
		answer, err := l.c.conns[n].do(context.WithoutCancel(ctx), call, r.policy)
		op.Output, op.Return = answer, int64(time.Since(l.start))
		if err != nil {
			if call.Op == check.Read || outcome(err) == check.Refused {
				pauseFor(ctx, failurePause)
				continue // it changed nothing and told nothing
			}
			// A client does one thing at a time, and this one may be at it for ever.
			op.Output, op.Return = check.Answer{Open: true}, check.Never
			client = l.newClient(n.dc)
		}
		switch {
		case err != nil:
		case call.Op == check.Set || answer.Swapped:
			seen[key] = call.Value
		default:
			seen[key] = answer.Value
		}
		l.mu.Lock()
		l.registers[r.name] = append(l.registers[r.name], op)
		l.mu.Unlock()
		if err != nil {
			pauseFor(ctx, r.after)
		}
		pauseFor(ctx, thinkTime)
	}
}

func (l *load) newClient(dc string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.where = append(l.where, dc)
	l.clients++
	return l.clients - 1
}

// do carries out a call. The answer to a swap that did not match has the value that was found instead, which
// is not part of what is judged.
func (k *kv) do(ctx context.Context, c check.Call, policy string) (check.Answer, error) {
	ctx, cancel := context.WithTimeout(withPolicy(ctx, policy), registerTimeout)
	defer cancel()
	put := &pb.PutRequest{Key: []byte(c.Key), Value: []byte(c.Value)}
	switch c.Op {
	case check.Set:
		_, err := k.rpc.Put(ctx, put)
		return check.Answer{}, err
	case check.Swap:
		cmp := &pb.Compare{Key: []byte(c.Key), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte(c.Expect)}}
		if c.Expect == "" {
			cmp.Target, cmp.TargetUnion = pb.Compare_VERSION, &pb.Compare_Version{}
		}
		resp, err := k.rpc.Txn(ctx, &pb.TxnRequest{
			Compare: []*pb.Compare{cmp},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: put.Key}}}},
		})
		if err != nil {
			return check.Answer{}, err
		}
		a := check.Answer{Swapped: resp.Succeeded}
		if !a.Swapped {
			for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
				a.Value = string(kv.Value)
			}
		}
		return a, nil
	}
	value, _, _, err := k.get(ctx, c.Key, registerTimeout)
	return check.Answer{Value: value}, err
}
