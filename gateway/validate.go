package gateway

import (
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// What is checked here needs no state. The texts and codes are etcd's: clients tell errors apart by text.

func checkRange(r *pb.RangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	if o := r.SortOrder; o < pb.RangeRequest_NONE || o > pb.RangeRequest_DESCEND {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	if t := r.SortTarget; t < pb.RangeRequest_KEY || t > pb.RangeRequest_VALUE {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	return nil
}

// checkAlarm refuses an action that there is not: a leader that can't tell what it means would commit it for nothing.
func checkAlarm(r *pb.AlarmRequest) error {
	if a := r.Action; a < pb.AlarmRequest_GET || a > pb.AlarmRequest_DEACTIVATE {
		return fmt.Errorf("%w: action %d is none of GET (0), ACTIVATE (1), DEACTIVATE (2)", errAlarm, a)
	}
	return nil
}

func checkPut(r *pb.PutRequest) error {
	switch {
	case len(r.GetKey()) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.IgnoreValue && len(r.Value) != 0:
		return rpctypes.ErrGRPCValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

func checkDeleteRange(r *pb.DeleteRangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// checkTxn checks a transaction with everything inside. Each of its three lists may hold maxOps; what the
// longest of them takes is not available to the transactions nested in it.
func checkTxn(r *pb.TxnRequest, maxOps int) error {
	if err := checkTxnOps(r, maxOps); err != nil {
		return err
	}
	if err := checkOverlap(r.GetSuccess()); err != nil {
		return err
	}
	return checkOverlap(r.GetFailure())
}

func checkTxnOps(r *pb.TxnRequest, maxOps int) error {
	longest := max(len(r.GetCompare()), len(r.GetSuccess()), len(r.GetFailure()))
	if longest > maxOps {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.GetCompare() {
		if len(c.GetKey()) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, ops := range [...][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range ops {
			if err := checkOp(op, maxOps-longest); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, maxOps int) error {
	switch x := op.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		return checkRange(x.RequestRange)
	case *pb.RequestOp_RequestPut:
		return checkPut(x.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return checkDeleteRange(x.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return checkTxnOps(x.RequestTxn, maxOps)
	default:
		return rpctypes.ErrGRPCKeyNotFound // as etcd answers an empty operation
	}
}

// checkSize refuses a write that is larger than a request may be.
func checkSize(r proto.Message, maxBytes int) error {
	if p, ok := r.(*pb.PutRequest); ok && len(p.Key)+len(p.Value)+64 <= maxBytes {
		return nil // 64 bytes are more than the other fields of a put can take
	}
	if proto.Size(r) > maxBytes {
		return rpctypes.ErrGRPCRequestTooLarge
	}
	return nil
}

// readOnly says whether no path through the transaction can write.
func readOnly(r *pb.TxnRequest) bool {
	for _, ops := range [...][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range ops {
			switch x := op.GetRequest().(type) {
			case *pb.RequestOp_RequestRange:
			case *pb.RequestOp_RequestTxn:
				if !readOnly(x.RequestTxn) {
					return false
				}
			default:
				return false
			}
		}
	}
	return true
}
