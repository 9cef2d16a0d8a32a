package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
)

// ceiling answers Put, Range and Txn without doing anything: what is left is gRPC, the kernel and the client. It
// runs in this process, which does nothing else while it is measured.
type ceiling struct {
	etcdserverpb.UnimplementedKVServer
	grpc     *grpc.Server
	endpoint string
	header   *etcdserverpb.ResponseHeader
	value    []byte
}

func startCeiling(valueBytes int) (*ceiling, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the ceiling: %w", err)
	}
	c := &ceiling{
		grpc: grpc.NewServer(), endpoint: l.Addr().String(),
		header: &etcdserverpb.ResponseHeader{ClusterId: 1, MemberId: 1, Revision: 2, RaftTerm: 1},
		value:  bytes.Repeat([]byte("x"), valueBytes),
	}
	etcdserverpb.RegisterKVServer(c.grpc, c)
	go func() { _ = c.grpc.Serve(l) }() // ends with Stop; before that a client sees what is wrong
	return c, nil
}

// Put pretends to have written.
func (c *ceiling) Put(context.Context, *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	return &etcdserverpb.PutResponse{Header: c.header}, nil
}

// Txn pretends that the comparison holds and that its put is written.
func (c *ceiling) Txn(context.Context, *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	put := &etcdserverpb.ResponseOp_ResponsePut{ResponsePut: &etcdserverpb.PutResponse{Header: &etcdserverpb.ResponseHeader{Revision: 2}}}
	return &etcdserverpb.TxnResponse{
		Header: c.header, Succeeded: true, Responses: []*etcdserverpb.ResponseOp{{Response: put}},
	}, nil
}

// manyKeys is enough for a load generator that wants to find its keys before it reads them.
const manyKeys = 1 << 40

// Range pretends to have found the key, or very many of them when only their number is asked for.
func (c *ceiling) Range(_ context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	if r.GetCountOnly() {
		return &etcdserverpb.RangeResponse{Header: c.header, Count: manyKeys}, nil
	}
	kv := &mvccpb.KeyValue{Key: r.GetKey(), Value: c.value, CreateRevision: 2, ModRevision: 2, Version: 1}
	return &etcdserverpb.RangeResponse{Header: c.header, Kvs: []*mvccpb.KeyValue{kv}, Count: 1}, nil
}

// Endpoints is the one address.
func (c *ceiling) Endpoints() []string { return []string{c.endpoint} }

// PIDs is this process.
func (c *ceiling) PIDs() []int { return []int{os.Getpid()} }

// Stop ends the server and its connections.
func (c *ceiling) Stop() error {
	c.grpc.Stop()
	return nil
}
