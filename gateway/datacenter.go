package gateway

import (
	"context"
	"io"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/dc/auth"
	"geogate/dc/store"
	"geogate/gateway/watch"
	"geogate/replication"
	"geogate/replication/event"
	"geogate/replication/policy"
	"geogate/replication/progress"
)

// Writer orders and commits writes. Only the node that leads its datacenter can: elsewhere every method
// returns [dc.ErrNotLeader]. After that error and [dc.ErrSuperseded] the write certainly was not made, after
// [dc.ErrUnknownOutcome] it may be. A nil error means that a majority of the datacenter's nodes has made it
// durable. Headers of responses carry only the revision.
type Writer interface {
	// Writes with a context of [dc.WithRequestID] are made once.
	Put(context.Context, *pb.PutRequest) (*pb.PutResponse, dc.Commit, error)
	DeleteRange(context.Context, *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, dc.Commit, error)
	Txn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, dc.Commit, error)
	// SubmitPut and SubmitTxn are Put and Txn for who does not wait: to is told the outcome, once, unless an error is
	// returned; it must neither block nor use the datacenter. encoded is the request as its client sent it, which stays as it is.
	// After abandon, to may be told or not.
	SubmitPut(r *pb.PutRequest, encoded []byte, to dc.Outcome) (abandon func(), err error)
	SubmitTxn(r *pb.TxnRequest, encoded []byte, to dc.Outcome) (abandon func(), err error)
	// Compact drops history in this datacenter only.
	Compact(context.Context, *pb.CompactionRequest) (*pb.CompactionResponse, error)
}

// Reader answers reads on any node: linearizable by default, from what is applied here when the request says
// serializable.
type Reader interface {
	watch.Source
	Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error)
	// RangeStream hands a range to send page by page, all at one revision, from what is applied here. The last
	// page alone has a header.
	RangeStream(ctx context.Context, r *pb.RangeRequest, pageBytes int, send func(*pb.RangeResponse) error) error
	// Linearize returns once everything committed before the call is applied here.
	Linearize(ctx context.Context) error
	// ReadTxn evaluates a transaction whose operations are all ranges.
	ReadTxn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error)
	// AppliedTxn is ReadTxn from what is applied here.
	AppliedTxn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error)
	// Changed is closed after the next entry is applied here; take it before reading what may change.
	Changed() <-chan struct{}
}

// Lessor keeps the datacenter's leases. LeaseLeases and LeaseKeys answer on any node, the others only where
// this node leads: elsewhere they return [dc.ErrNotLeader]. Errors of LeaseGrant and LeaseRevoke are those of a
// write.
type Lessor interface {
	LeaseGrant(context.Context, *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error)
	LeaseRevoke(context.Context, *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error)
	// LeaseRenew gives leases all of their time again and returns their TTLs in the same order, 0 for one that
	// is not there. What it returned holds whoever leads next.
	LeaseRenew(ctx context.Context, ids []int64) ([]int64, error)
	// LeaseTimeToLive has TTL -1 for a lease that is not there.
	LeaseTimeToLive(context.Context, *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error)
	LeaseLeases(context.Context, *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error)
	// LeaseKeys are the keys that end with a lease, as of this node.
	LeaseKeys(id int64) [][]byte
}

// Leadership says who orders this datacenter's writes.
type Leadership interface {
	// Leading is the newest term known here, and whether this node leads in it.
	Leading() (term uint64, leading bool)
	// Leader is the member that leads, 0 when that is not known.
	Leader() uint64
	// LeadershipChanged is closed at the next change; take it before reading the others.
	LeadershipChanged() <-chan struct{}
}

// Degradations is what the datacenter has taken down of writes under a weaker policy ([dc.WithDegraded]), so that
// a new leader goes on counting.
type Degradations interface {
	// Degraded are those that go on, by keyspace, as applied here. The map must not be changed.
	Degraded() map[string]dc.Degradation
	// EndDegraded records that some are over, as they were read. Only the leader can.
	EndDegraded(ctx context.Context, over map[string]dc.Degradation) error
}

// Maintenance is work on this node's own data.
type Maintenance interface {
	// Hash sums up the history up to a revision, 0 being the newest.
	Hash(ctx context.Context, revision int64) (store.Hash, error)
	// Backup opens a copy of the data as applied now, and says how many bytes it has.
	Backup() (size int64, r io.ReadCloser, err error)
	// Defragment writes the database anew without its free pages, while reads and writes go on.
	Defragment(context.Context) error
	// Alarm raises or clears an alarm; errors are those of a write.
	Alarm(context.Context, *pb.AlarmRequest) (*pb.AlarmResponse, error)
	// Alarms are those that are raised.
	Alarms() []*pb.AlarmMember
}

// Datacenter is this node's replica of its datacenter.
type Datacenter interface {
	Writer
	Reader
	Lessor
	Leadership
	Degradations
	Maintenance
	// Name is the datacenter's name, the origin of its writes.
	Name() string
	// Position is how far this node has applied the chain of an origin.
	Position(origin string) event.Position
}

// Replication is what the peers have confirmed. Its methods work while this node leads.
type Replication interface {
	// Originate says why this node must not stamp writes of multi-writer keyspaces now; nil when it may.
	Originate() error
	// Holders is how many datacenters hold the data, this one counted.
	Holders() int
	// Check says that a policy can't be met by the peers that are believed up; the error names those that
	// are missing and why.
	Check(policy.Policy) error
	// Admit is Check for a write that is going to wait: while a peer is only coming back, a few are let through.
	// done ends the wait; it is never nil.
	Admit(policy.Policy) (done func(), err error)
	// Hurry says that a client waits for the peers to come nearer, without a write that waits for their acks.
	Hurry()
	// Wait returns once the datacenters that confirmed the local revision meet the policy. ackedBy names
	// them, also when an error is returned: ctx's when it ended first, [replication.ErrNotLeading] when this node ceased
	// to lead.
	Wait(ctx context.Context, revision int64, p policy.Policy) (ackedBy []string, err error)
	// Notify is Wait for a revision that is committed here, and for who does not wait: to is told once, and must neither block
	// nor use what it is told by. After cancel, which returns what is known then, to may have been told or never is. ok is false
	// where Wait has to be asked.
	Notify(revision int64, p policy.Policy, to progress.Receiver) (cancel func() (ackedBy []string), ok bool)
	// Matrix is what each datacenter is known to have applied of each origin; complete on the leader only.
	Matrix() map[string]event.Vector
	// Peers is the state of every other datacenter, on the leader; elsewhere nil.
	Peers() []replication.PeerStatus
}

// Users is the users and roles of this datacenter.
type Users interface {
	// Auth is those that this node has applied; never nil, and never changed. Later calls never return older ones.
	Auth() *auth.State
	// ChangeAuth commits one of etcd's auth requests, with hashes in place of passwords; errors are those of a
	// [Writer] and of package auth. Like the writes of a [Writer] it takes the revision that permits it from
	// [dc.WithAuthRevision], and answers [auth.ErrOldRevision], with nothing changed, when another one is in force.
	ChangeAuth(context.Context, *pb.InternalRaftRequest) (proto.Message, dc.Commit, error)
	// Linearize returns once this node has applied all that was committed before the call.
	Linearize(context.Context) error
}
