package consensus

import (
	"reflect"
	"testing"

	"go.etcd.io/etcd/raft/v3/raftpb"
)

func TestEnvelopeServesAgain(t *testing.T) {
	var e envelope
	message := func(n int) raftpb.Message {
		return raftpb.Message{Type: raftpb.MsgApp, From: 1, To: 2, Index: uint64(n), Entries: []raftpb.Entry{{Index: 1, Data: make([]byte, n)}}}
	}
	for _, sizes := range [][]int{{10, 2000, 0}, {5}, {2 * keptEnvelope, 1}, {7, 7}} {
		var messages []raftpb.Message
		for _, n := range sizes {
			messages = append(messages, message(n))
		}
		if err := e.fill(messages); err != nil {
			t.Fatal(err)
		}
		if len(e.Messages) != len(messages) {
			t.Fatalf("%d messages of %d", len(e.Messages), len(messages))
		}
		for i, b := range e.Messages {
			var got raftpb.Message
			if err := got.Unmarshal(b); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, messages[i]) && len(messages[i].Entries[0].Data) > 0 {
				t.Errorf("message %d of %v differs", i, sizes)
			}
		}
	}
	if cap(e.bytes) > keptEnvelope {
		t.Errorf("%d bytes are kept", cap(e.bytes))
	}
	small := []raftpb.Message{message(100)}
	if n := testing.AllocsPerRun(100, func() {
		if err := e.fill(small); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
