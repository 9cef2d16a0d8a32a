package oracle

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ttlSlack is by how many seconds the two servers' clocks of a lease may differ: they began a moment apart.
const ttlSlack = 2

// maxShown bounds how much of a message a difference shows, in bytes.
const maxShown = 2000

// outcome is an answer in a form in which two of them can be compared.
type outcome struct {
	message proto.Message
	failure string // code and text
}

func outcomeOf(message proto.Message, err error) outcome {
	if err != nil {
		st := status.Convert(err)
		return outcome{failure: fmt.Sprintf("%s: %s", st.Code(), st.Message())}
	}
	message = proto.Clone(message)
	neutral(message.ProtoReflect())
	if r, ok := message.(*pb.LeaseLeasesResponse); ok {
		slices.SortFunc(r.Leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(a.ID, b.ID) })
	}
	return outcome{message: message}
}

// neutral takes out what names the server: ids and terms of headers, at any depth.
func neutral(m protoreflect.Message) {
	if h, ok := m.Interface().(*pb.ResponseHeader); ok {
		h.ClusterId, h.MemberId, h.RaftTerm = 0, 0, 0
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil || fd.IsMap():
		case fd.IsList():
			for i := range v.List().Len() {
				neutral(v.List().Get(i).Message())
			}
		default:
			neutral(v.Message())
		}
		return true
	})
}

// differ says how two outcomes differ, or nothing.
func differ(theirs, ours outcome) string {
	if theirs.failure != ours.failure {
		return fmt.Sprintf("etcd: %s\nours: %s", describe(theirs), describe(ours))
	}
	if theirs.message == nil {
		return ""
	}
	if reflect.TypeOf(theirs.message) != reflect.TypeOf(ours.message) {
		return fmt.Sprintf("etcd: %T\nours: %T", theirs.message, ours.message)
	}
	alignTTL(theirs.message, ours.message)
	if !proto.Equal(theirs.message, ours.message) {
		return fmt.Sprintf("etcd: %s\nours: %s", describe(theirs), describe(ours))
	}
	return ""
}

// alignTTL makes two remaining times equal that differ by no more than the clocks may, and sorts etcd's list of keys,
// which has no order.
func alignTTL(theirs, ours proto.Message) {
	a, ok := theirs.(*pb.LeaseTimeToLiveResponse)
	if !ok {
		return
	}
	b := ours.(*pb.LeaseTimeToLiveResponse)
	slices.SortFunc(a.Keys, bytes.Compare)
	if d := a.TTL - b.TTL; a.TTL >= 0 && b.TTL >= 0 && d >= -ttlSlack && d <= ttlSlack {
		b.TTL = a.TTL
	}
}

func describe(o outcome) string {
	if o.message == nil {
		return o.failure
	}
	text := prototext.MarshalOptions{}.Format(o.message)
	if len(text) > maxShown {
		text = text[:maxShown] + fmt.Sprintf("... (%d bytes)", len(text))
	}
	return text
}
