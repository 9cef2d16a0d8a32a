package gateway

import (
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestSnapshotFraming(t *testing.T) {
	s := newSite(t, 1, nil)
	stream, err := pb.NewMaintenanceClient(s.conn(0)).Snapshot(testContext(t), &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.Version == "" || len(r.Blob) > snapshotChunkBytes {
			t.Errorf("chunk of %d bytes, version %q", len(r.Blob), r.Version)
		}
		got = append(got, r.Blob...)
		if left := max(0, len(fakeBackup)-len(got)); r.RemainingBytes != uint64(left) {
			t.Errorf("%d bytes remain after %d, want %d", r.RemainingBytes, len(got), left)
		}
	}
	sum := sha256.Sum256([]byte(fakeBackup))
	if string(got) != fakeBackup+string(sum[:]) {
		t.Errorf("%d bytes, want %d and their checksum", len(got), len(fakeBackup))
	}
}

// Requests that read the whole database are bounded in number.
func TestMaintenanceIsBounded(t *testing.T) {
	s := newSite(t, 1, func(c *Config) { c.MaxMaintenance = 1 })
	m := maintenanceServer{Server: s.nodes[0].Server}
	end, err := m.beginWork(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	c := pb.NewMaintenanceClient(s.conn(0))
	if _, err := c.Hash(testContext(t), &pb.HashRequest{}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("while another one runs: %v", err)
	}
	end()
	r, err := c.HashKV(testContext(t), &pb.HashKVRequest{})
	if err != nil || r.Hash != 77 || r.CompactRevision != -1 || r.HashRevision != r.Header.Revision {
		t.Errorf("%v, %v", r, err)
	}
}
