package consensus

import (
	"context"
	"reflect"
	"testing"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"geogate/consensus/pb"
)

// FuzzConf: any bytes are who the group was, the same when it is written and read again, or an error; and so for a
// change of it in the log.
func FuzzConf(f *testing.F) {
	m := &Membership{Index: 3, Removed: []uint64{9}, Members: []Member{
		{ID: 1, Addr: "a:1", Name: "n", ClientURLs: []string{"http://a:2"}}, {ID: 2, Addr: "b:1", Learner: true},
	}}
	b, err := encodeConf(&raftpb.ConfState{Voters: []uint64{1}, Learners: []uint64{2}}, m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	what, err := proto.Marshal(&pb.Change{Operation: pb.Change_OPERATION_ADD, Member: &pb.Member{Id: 3, Addr: "c:1"}})
	if err != nil {
		f.Fatal(err)
	}
	change := raftpb.ConfChangeV2{Changes: []raftpb.ConfChangeSingle{{Type: raftpb.ConfChangeAddNode, NodeID: 3}}, Context: what}
	if b, err = change.Marshal(); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if conf, m, err := decodeConf(b); err == nil {
			again, err := encodeConf(&conf, m)
			if err != nil {
				t.Fatal(err)
			}
			_, m2, err := decodeConf(again)
			if err != nil || !reflect.DeepEqual(m, m2) {
				t.Fatalf("%+v came back as %+v, %v", m, m2, err)
			}
		}
		for _, kind := range []raftpb.EntryType{raftpb.EntryConfChange, raftpb.EntryConfChangeV2} {
			_, what, err := decodeChange(&raftpb.Entry{Type: kind, Data: b})
			if err == nil && what != nil {
				_ = memberFromProto(what.Member)
			}
		}
	})
}

// FuzzPeerMessage: any bytes from a peer are a message from it to this node, of a kind that a peer may send, or are
// refused as bad input.
func FuzzPeerMessage(f *testing.F) {
	for _, m := range []raftpb.Message{
		{Type: raftpb.MsgHeartbeat, From: 2, To: 1, Term: 3, Commit: 9},
		{Type: raftpb.MsgApp, From: 2, To: 1, Term: 3, Entries: []raftpb.Entry{{Term: 3, Index: 4, Data: []byte("d")}}},
		{Type: raftpb.MsgSnap, From: 2, To: 1, Snapshot: raftpb.Snapshot{}},
		{Type: raftpb.MsgReadIndex, From: 3, To: 1, Entries: []raftpb.Entry{{Data: []byte("r")}}},
		{Type: raftpb.MsgHup, From: 2, To: 1},
		{Type: 99, From: 2, To: 1},
		{Type: -1, From: 2, To: 1},
	} {
		b, err := m.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &receiver{t: &transport{
			cfg:    &Config{NodeID: 1, Link: func(uint64, uint64) bool { return true }},
			node:   &Node{pulse: &pulse{}},
			urgent: newMailbox(4, 1<<20), bulk: newMailbox(4, 1<<20),
		}}
		err := r.message(context.Background(), 2, b)
		if err != nil {
			if status.Code(err) != codes.InvalidArgument {
				t.Fatal(err)
			}
			return
		}
		var m raftpb.Message
		if err := m.Unmarshal(b); err != nil {
			t.Fatal(err)
		}
		known := raftpb.MessageType_name[int32(m.Type)] != ""
		if !known || m.Type == raftpb.MsgProp || m.Type == raftpb.MsgSnap || m.Type == raftpb.MsgHup || m.To != 1 {
			t.Fatalf("taken: %+v", m)
		}
	})
}
