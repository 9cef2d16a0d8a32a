package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// level is what a read promises; README.md, "Reads", has the table.
type level int

const (
	levelLinearizable level = iota
	levelSequential
	levelEventual
	levelQuorum
	levelBounded // asked for by a bound, not by its name
	levels       // their number
)

var levelNames = [levels]string{
	levelLinearizable: "linearizable", levelSequential: "sequential", levelEventual: "eventual", levelQuorum: "quorum", levelBounded: "bounded",
}

func (l level) String() string { return levelNames[l] }

// reading is what a request's metadata says about how it is to be read.
type reading struct {
	level level
	named bool          // by geogate-read
	max   time.Duration // of levelBounded
}

// applied says that the state of this node will do as it is.
func (r reading) applied() bool { return r.level == levelSequential || r.level == levelEventual }

// wide says that other datacenters have a say.
func (r reading) wide() bool { return r.level == levelQuorum || r.level == levelBounded }

// readingOf reads the metadata; a request has one level.
func readingOf(ctx context.Context) (reading, error) {
	name, bound := metadata.ValueFromIncomingContext(ctx, metaRead), metadata.ValueFromIncomingContext(ctx, metaMaxStaleness)
	if len(name) == 0 && len(bound) == 0 {
		return reading{}, nil
	}
	if len(name)+len(bound) > 1 {
		return reading{}, fmt.Errorf("%w: %s: %q, %s: %q: a read has one level, give one value of one of the two",
			ErrMetadata, metaRead, name, metaMaxStaleness, bound)
	}
	if len(bound) > 0 {
		d, err := time.ParseDuration(bound[0])
		if err != nil || d <= 0 {
			return reading{}, fmt.Errorf("%w: %s: %q is not a time above 0, such as 500ms or 2s; a read without it is linearizable, which is as new as it gets",
				ErrMetadata, metaMaxStaleness, bound[0])
		}
		return reading{level: levelBounded, max: d}, nil
	}
	named := levelNames[:levelBounded]
	at := slices.Index(named, strings.ToLower(name[0]))
	if at < 0 {
		return reading{}, fmt.Errorf("%w: %s: %q is unknown; use one of %s, or %s for a bound on the age",
			ErrMetadata, metaRead, name[0], strings.Join(named, ", "), metaMaxStaleness)
	}
	return reading{level: level(at), named: true}, nil
}

// what is how a client asked for the level.
func (r reading) what() string {
	if r.level == levelBounded {
		return fmt.Sprintf("%s: %s", metaMaxStaleness, r.max)
	}
	return metaRead + ": " + r.level.String()
}

// suits refuses what contradicts itself in a range.
func (r reading) suits(req *pb.RangeRequest) error {
	switch {
	case req.GetSerializable() && r.named && !r.applied():
		return fmt.Errorf("%w: the request is serializable, which is what one node has applied, and has %s: drop one of the two", ErrMetadata, r.what())
	case req.GetRevision() > 0 && r.wide():
		return fmt.Errorf("%w: the request is for revision %d, which stays as it was, and has %s, which is about the newest state: drop one of the two",
			ErrMetadata, req.Revision, r.what())
	}
	return nil
}

// suitsTxn does so for a transaction that only reads.
func (r reading) suitsTxn(req *pb.TxnRequest) (err error) {
	if !r.named && !r.wide() {
		return nil
	}
	eachOp(req, func(op *pb.RequestOp) {
		if err == nil {
			err = r.suits(op.GetRequestRange())
		}
	})
	return err
}

// ofWrite refuses a level for a transaction that may write: all of it is read where and when it is written.
func (r reading) ofWrite() error {
	if r.level == levelLinearizable {
		return nil
	}
	return fmt.Errorf("%w: nothing was read or written: %s is for reads, and this transaction may write: it reads what is newest where it is written; drop it, or read by itself",
		ErrMetadata, r.what())
}

// serializable is a request for what this node has applied.
func serializable(req *pb.RangeRequest) *pb.RangeRequest {
	if req.Serializable {
		return req
	}
	req = proto.Clone(req).(*pb.RangeRequest)
	req.Serializable = true
	return req
}
