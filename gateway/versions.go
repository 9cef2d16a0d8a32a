package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
)

// A transaction that is forwarded to the home of its keyspace compares revisions of the datacenter where the client
// is. They are other numbers at the home. But a version of a key is the same everywhere: it came with one transaction,
// which its origin and origin revision name. So here each compare is given the version that the client's revision is
// about, and the home turns it into a compare of its own revisions, which is decided when the transaction is
// applied. README.md has the argument why the outcome is the one that the client means.

// Places of a compare's revision beside that of the key's newest version here.
const (
	before = -1 // the compare's revision is lower
	exact  = 0
	behind = 1 // higher
	future = 2 // of no transaction that this datacenter has applied, nor of the next one
)

// namedVersion is the newest version of a compared key in the datacenter where the client is.
type namedVersion struct {
	Compare  int    `json:"compare"`          // place of the compare in the order of eachCompare
	Origin   string `json:"origin,omitempty"` // empty: the key is not there
	Revision int64  `json:"revision,omitempty"`
	Order    int    `json:"order,omitempty"`   // of the compare's revision beside its mod or create revision there
	Version  int64  `json:"version,omitempty"` // its number of puts there
}

// names says whether v is the version; nil is a key that is not there.
func (n *namedVersion) names(v *store.Version) bool {
	if v == nil {
		return n.Origin == ""
	}
	return v.Geo.Origin == n.Origin && v.Geo.OriginRevision == n.Revision
}

// ofRevisions says whether a compare is about revisions, or numbers of puts, other than 0, which is the same everywhere.
func ofRevisions(c *pb.Compare) bool {
	switch c.Target {
	case pb.Compare_MOD:
		return c.GetModRevision() != 0
	case pb.Compare_CREATE:
		return c.GetCreateRevision() != 0
	case pb.Compare_VERSION:
		return c.GetVersion() != 0
	}
	return false
}

// nameVersions says, as JSON, what the compares of a transaction mean; "" when that is the same everywhere.
func (s *Server) nameVersions(ctx context.Context, txn *pb.TxnRequest) (string, error) {
	if err := checkTranslatable(txn); err != nil {
		return "", err
	}
	needed := false
	eachCompare(txn, func(c *pb.Compare) { needed = needed || ofRevisions(c) })
	if !needed {
		return "", nil
	}
	// The client may have its revisions from a node that is ahead of this one.
	if err := s.linearize(ctx); err != nil {
		return "", err
	}
	revision := s.dc.Revision()
	var named []namedVersion
	var err error
	i := -1
	eachCompare(txn, func(c *pb.Compare) {
		if i++; err != nil || !ofRevisions(c) {
			return
		}
		var n namedVersion
		n, err = s.nameVersion(c, revision)
		n.Compare = i
		named = append(named, n)
	})
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(named)
	if err != nil {
		return "", fmt.Errorf("encode versions: %w", err)
	}
	return string(b), nil
}

func (s *Server) nameVersion(c *pb.Compare, revision int64) (n namedVersion, err error) {
	v, err := s.cfg.Origins.Latest(c.Key)
	if err != nil {
		return n, err
	}
	var mod, create int64
	if v != nil {
		n.Origin, n.Revision, n.Version = v.Geo.Origin, v.Geo.OriginRevision, v.Version
		mod, create = v.Mod, v.Create
	}
	switch c.Target {
	case pb.Compare_MOD:
		n.Order = orderOf(c.GetModRevision(), mod, revision)
	case pb.Compare_CREATE:
		n.Order = orderOf(c.GetCreateRevision(), create, revision)
	}
	return n, nil
}

// orderOf places a compare's revision. A version that is newer than what is applied here gets a revision above the
// present one, so any place up to the next one can be told.
func orderOf(asked, newest, revision int64) int {
	if asked > newest && asked > revision+1 {
		return future
	}
	return cmp.Compare(asked, newest)
}

// checkTranslatable refuses what has no meaning at the home: there are no such revisions.
func checkTranslatable(txn *pb.TxnRequest) (err error) {
	eachCompare(txn, func(c *pb.Compare) {
		if len(c.RangeEnd) > 0 && ofRevisions(c) {
			err = fmt.Errorf("nothing was written: %w: a compare of %s over the range from %q: compare each key by itself, or write in the home's datacenter",
				ErrTranslated, c.Target, c.Key)
		}
	})
	eachOp(txn, func(op *pb.RequestOp) {
		r := op.GetRequestRange()
		if r != nil && (r.Revision > 0 || r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0) {
			err = fmt.Errorf("nothing was written: %w: a range from %q at or between revisions, in a transaction that writes: read it by itself, "+
				"or write in the home's datacenter", ErrTranslated, r.Key)
		}
	})
	return err
}

// errCatchUp says that the client's datacenter must catch up before the home can tell what a compare means.
type catchUpError struct {
	key      []byte
	revision int64 // of the home, up to which it must have applied
}

func (e *catchUpError) Error() string {
	return fmt.Sprintf("nothing was written: whether %q still is the key that was compared shows from revision %d on", e.key, e.revision)
}

func (e *catchUpError) status() error {
	return withInfo(codes.Unavailable, e.Error(), reasonCatchUp, map[string]string{infoRevision: strconv.FormatInt(e.revision, 10)})
}

// resolveVersions turns the compares of a transaction from another datacenter into compares of this one's revisions.
// It returns a transaction of its own.
func (s *Server) resolveVersions(txn *pb.TxnRequest, encoded string) (*pb.TxnRequest, error) {
	var named []namedVersion
	if err := json.Unmarshal([]byte(encoded), &named); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMetadata, callVersions, err)
	}
	byPlace := map[int]*namedVersion{}
	for i := range named {
		byPlace[named[i].Compare] = &named[i]
	}
	out := proto.Clone(txn).(*pb.TxnRequest)
	var err error
	i := -1
	eachCompare(out, func(c *pb.Compare) {
		if i++; err != nil || !ofRevisions(c) {
			return
		}
		n := byPlace[i]
		if n == nil {
			err = fmt.Errorf("%w: %s has nothing for compare %d", ErrMetadata, callVersions, i)
			return
		}
		err = s.resolveVersion(c, n)
	})
	return out, err
}

func (s *Server) resolveVersion(c *pb.Compare, n *namedVersion) error {
	newest, err := s.cfg.Origins.Latest(c.Key)
	if err != nil {
		return err
	}
	switch c.Target {
	case pb.Compare_MOD:
		resolveMod(c, n, newest)
	case pb.Compare_CREATE:
		same, known := s.sameLife(n, newest)
		if !known {
			return &catchUpError{c.Key, newest.Mod}
		}
		resolveCreate(c, n, newest, same)
	case pb.Compare_VERSION:
		if newest != nil && n.names(newest) {
			c.TargetUnion = &pb.Compare_Version{Version: c.GetVersion() + newest.Version - n.Version}
		}
	}
	return nil
}

// never is a revision that no key has; always is above all of them.
const (
	never  = -1
	always = math.MaxInt64
)

// resolveMod writes the compare anew. The key may be in three states when it is applied: the named version still is
// the newest, there is a newer one, or the key is not there (then it has revision 0). In the client's datacenter a
// newer one would have a revision above all that is applied there.
func resolveMod(c *pb.Compare, n *namedVersion, newest *store.Version) {
	same, mod := n.names(newest), int64(0)
	if newest != nil {
		mod = newest.Mod
	}
	r := int64(never)
	switch c.Result {
	case pb.Compare_EQUAL, pb.Compare_NOT_EQUAL:
		if same && n.Order == exact {
			r = mod
		}
	case pb.Compare_LESS:
		r = 1 // holds only where the key is not there
		switch {
		case n.Order == future:
			r = always
		case same && n.Order == behind:
			r = mod + 1
		}
	case pb.Compare_GREATER:
		r = 0 // holds for every key that is there
		switch {
		case n.Order == future:
			r = always
		case same && n.Order != before:
			r = mod
		}
	}
	c.TargetUnion = &pb.Compare_ModRevision{ModRevision: r}
}

// resolveCreate is resolveMod for the revision that created the key: what counts is not whether the key was put
// since, but whether it was deleted.
func resolveCreate(c *pb.Compare, n *namedVersion, newest *store.Version, same bool) {
	create := int64(0)
	if newest != nil {
		create = newest.Create
	}
	r := int64(never)
	switch c.Result {
	case pb.Compare_EQUAL, pb.Compare_NOT_EQUAL:
		if same && n.Order == exact {
			r = create
		}
	case pb.Compare_LESS:
		r = 1
		switch {
		case n.Order == future:
			r = always
		case same && n.Order == behind:
			r = create + 1
		}
	case pb.Compare_GREATER:
		r = 0
		switch {
		case n.Order == future:
			r = always
		case same && n.Order != before:
			r = create
		}
	}
	c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: r}
}

// sameLife says whether the key was there without a break from the named version to the newest one. That is not
// known when the named version is of another home and has been replaced: where it stands among this datacenter's
// revisions is kept no more. It is known as soon as the client's datacenter has the newest one.
func (s *Server) sameLife(n *namedVersion, newest *store.Version) (same, known bool) {
	switch {
	case n.names(newest):
		return true, true
	case newest == nil || n.Origin == "":
		return false, true
	case n.Origin == s.name:
		return newest.Create <= n.Revision, true // own origin revisions are the revisions here
	}
	return false, false
}
