package gateway

import (
	"net"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/test/allocs"
)

func TestAllocationsOfAPut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newInstant(t, l, nil)
	defer s.Kill()
	req := &pb.PutRequest{Key: []byte("key-000001"), Value: make([]byte, 256)}
	allocs.AtMost(t, "the put handler", 17, func() {
		if _, err := (kvServer{Server: s}).Put(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAllocationsOfARange(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newInstant(t, l, nil)
	defer s.Kill()
	req := &pb.RangeRequest{Key: []byte("key-000001")}
	allocs.AtMost(t, "the range handler", 6, func() {
		if _, err := (kvServer{Server: s}).Range(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	})
}
