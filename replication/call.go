package replication

import "errors"

// Outcomes of a call to another datacenter that brought no answer.
var (
	// ErrNotDelivered says that a call certainly did nothing there: it may be made again.
	ErrNotDelivered = errors.New("the call did not reach the datacenter")
	// ErrUnknownOutcome says that a call was sent and that its answer is lost.
	ErrUnknownOutcome = errors.New("the answer of the datacenter was lost")
)

// Request is a call to the node that leads another datacenter.
type Request struct {
	Method string
	Header map[string][]string
	Body   []byte
}

// Reply answers a [Request].
type Reply struct {
	Header  map[string][]string // trailers
	Body    []byte
	Code    uint32 // of gRPC; 0 is success
	Message string
	Details []byte // a marshalled google.rpc.Status; empty when there are none
}
