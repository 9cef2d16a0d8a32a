package consensus

import (
	"fmt"

	"go.etcd.io/etcd/raft/v3/raftpb"

	"geogate/consensus/pb"
)

// keptEnvelope bounds the bytes that an envelope keeps for the next messages; a larger one is rare.
const keptEnvelope = 1 << 20

// envelope is what a lane sends at a time. grpc has encoded it when Send returns, so its memory serves again.
type envelope struct {
	pb.Envelope

	bytes []byte
}

// fill replaces the content.
func (e *envelope) fill(messages []raftpb.Message) error {
	size := 0
	for i := range messages {
		size += messages[i].Size()
	}
	if cap(e.bytes) < size || cap(e.bytes) > keptEnvelope {
		e.bytes = make([]byte, size)
	}
	clear(e.Messages)
	e.Messages = e.Messages[:0]
	free := e.bytes[:cap(e.bytes)]
	for i := range messages {
		n, err := messages[i].MarshalTo(free)
		if err != nil {
			return fmt.Errorf("encode message: %w", err)
		}
		e.Messages = append(e.Messages, free[:n:n])
		free = free[n:]
	}
	return nil
}
