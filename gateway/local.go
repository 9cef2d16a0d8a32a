package gateway

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc"
	"geogate/dc/store"
	"geogate/gateway/watch"
	"geogate/replication"
)

// Local is a [dc.DC] as the gateway and the admin API see it.
type Local struct{ *dc.DC }

var (
	_ Datacenter = Local{}
	_ Inspector  = Local{}
	_ Users      = Local{}

	_ Replication = (*replication.Engine)(nil)
)

// Watch makes the store's watcher a [watch.Watcher].
func (l Local) Watch(o store.WatchOptions) watch.Watcher { return l.DC.Watch(o) }

// Latest is the newest version of a key.
func (l Local) Latest(key []byte) (*store.Version, error) { return l.Store().Latest(key) }

// Attached are the keys that end with a lease at their home, another datacenter.
func (l Local) Attached(home string, lease int64) [][]byte { return l.LeaseKeysAt(home, lease) }

// Locate finds where a transaction of an origin was applied.
func (l Local) Locate(origin string, revision, since int64) (at, last int64, err error) {
	return l.Store().Locate(origin, revision, since)
}

// State gathers what the datacenter, its consensus and its store say. Digest and vector belong together; the
// rest is as of moments close to each other.
func (l Local) State() State {
	raft, data := l.Status(), l.Store()
	digest, vector := l.Digest()
	var texts []string
	problem := l.Problem()
	for _, a := range l.Alarms() {
		texts = append(texts, alarmText(a))
		if a.Alarm == pb.AlarmType_CORRUPT && problem == "" {
			problem = "the alarm CORRUPT is raised: writes are refused until `etcdctl alarm disarm`"
		}
	}
	return State{
		Alarms: texts, Problem: problem,
		Term: raft.Term, Leader: raft.Leader, Commit: raft.Commit, Applied: raft.Applied,
		Revision: l.Revision(), Compacted: data.Compacted(), Keys: int64(data.Keys()),
		DBSizeBytes: data.DBSize(), DBInUseBytes: data.InUse(),
		Incarnation: l.Incarnation(), Digest: digest, Vector: vector,
	}
}
