package gateway

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// snapshotChunkBytes is what one message of a snapshot holds; of etcd's clients none expects more.
const snapshotChunkBytes = 32 << 10

// Snapshot sends this node's database as etcd sends its own: chunks with what remains, and at the end the
// SHA-256 of all. It takes as long as the client takes.
func (m maintenanceServer) Snapshot(_ *pb.SnapshotRequest, stream pb.Maintenance_SnapshotServer) error {
	end, err := m.beginWork(stream.Context())
	if err != nil {
		return statusOf(err)
	}
	defer end()
	start := time.Now()
	size, r, err := m.dc.Backup()
	if err != nil {
		return readStatus(err)
	}
	m.log.Info("sending a snapshot of the database to a client", "bytes", size)
	err = sendSnapshot(size, r, stream)
	if err := errors.Join(err, r.Close()); err != nil {
		m.log.Warn("the snapshot was not sent to its end", "bytes", size, "error", err)
		return readStatus(err)
	}
	m.log.Info("sent a snapshot of the database", "bytes", size, "seconds", time.Since(start).Seconds())
	return nil
}

func sendSnapshot(size int64, r io.Reader, stream pb.Maintenance_SnapshotServer) error {
	sum := sha256.New()
	for left := size; left > 0; {
		chunk := make([]byte, min(left, snapshotChunkBytes)) // grpc keeps it after Send
		if _, err := io.ReadFull(r, chunk); err != nil {
			return fmt.Errorf("read the database, %d of %d bytes from its end: %w", left, size, err)
		}
		left -= int64(len(chunk))
		sum.Write(chunk)
		if err := stream.Send(&pb.SnapshotResponse{RemainingBytes: uint64(left), Blob: chunk, Version: storageVersion}); err != nil {
			return err
		}
	}
	return stream.Send(&pb.SnapshotResponse{Blob: sum.Sum(nil), Version: storageVersion})
}
