package dc

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/auth"
	"geogate/dc/store"
	"geogate/replication/event"
)

const (
	// What the system table may hold before a change of this DC is refused. They are constants because
	// replicas that refused at different sizes would differ; what other DCs send is always taken.
	maxSystemEntries = 20_000
	maxSystemBytes   = 16 << 20

	secretBytes = 32

	authFieldRequest = 1
	authFieldSecret  = 2
)

// authState is the users and roles as the apply goroutine has them.
type authState struct {
	revision uint64 // kept in the store's meta, with secret
	secret   []byte
	current  *auth.State
	dirty    bool // entries have changed since current was made
	asked    bool // a secret was proposed by this leader. Not replicated
}

type authRevisionKey struct{}

// WithAuthRevision says that users and roles of this revision permit the writes made with the context. While
// authentication is enabled a write without it, or with another than is in force when it is applied, gets
// [auth.ErrOldRevision].
func WithAuthRevision(ctx context.Context, revision uint64) context.Context {
	return context.WithValue(ctx, authRevisionKey{}, revision)
}

type userKey struct{}

// WithUser names who asks for what is made with the context, for [DC.LeaseRevoke]: which keys a lease ends is
// only known when it is applied.
func WithUser(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, userKey{}, name)
}

// Auth is the users and roles that are in force on this node.
func (d *DC) Auth() *auth.State { return d.users.Load() }

// ChangeAuth commits a change of users and roles, one of etcd's auth requests. Passwords must have been
// replaced by hashes: what is passed is written to the log as it is.
func (d *DC) ChangeAuth(ctx context.Context, r *pb.InternalRaftRequest) (proto.Message, Commit, error) {
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		return nil, Commit{}, fmt.Errorf("encode request: %w", err)
	}
	p, err := d.queue.add(item{kind: kindAuth, payload: encodeAuth(payload, newSecret()), auth: d.authRevision(ctx)})
	if err != nil {
		return nil, Commit{}, err
	}
	res := d.queue.wait(ctx, p)
	return res.response, res.commit, res.err
}

// authRevision is what the context says, 0 while authentication is off.
func (d *DC) authRevision(ctx context.Context) uint64 {
	if !d.users.Load().Enabled {
		return 0
	}
	revision, _ := ctx.Value(authRevisionKey{}).(uint64)
	return revision
}

func newSecret() []byte {
	b := make([]byte, secretBytes)
	rand.Read(b) //nolint:errcheck // documented never to fail
	return b
}

func encodeAuth(request, secret []byte) []byte {
	b := make([]byte, 0, len(request)+len(secret)+16)
	b = protowire.AppendTag(b, authFieldRequest, protowire.BytesType)
	b = protowire.AppendBytes(b, request)
	b = protowire.AppendTag(b, authFieldSecret, protowire.BytesType)
	return protowire.AppendBytes(b, secret)
}

func decodeAuth(b []byte) (r *pb.InternalRaftRequest, secret []byte, err error) {
	r = &pb.InternalRaftRequest{}
	var raw []byte
	err = eachField(b, func(num protowire.Number, _ uint64, v []byte) {
		switch num {
		case authFieldRequest:
			raw = v
		case authFieldSecret:
			secret = v
		}
	})
	if err == nil {
		err = proto.Unmarshal(raw, r)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: auth: %w", ErrMalformed, err)
	}
	return r, secret, nil
}

// loadAuth reads users and roles from the store, at Open and after Restore.
func (d *DC) loadAuth() error {
	a := authState{revision: 1}
	if raw := d.store.Meta(metaAuth); raw != nil {
		if len(raw) != 8 && len(raw) != 8+secretBytes {
			return fmt.Errorf("%s has %d bytes, want 8 or %d: the store is damaged", metaAuth, len(raw), 8+secretBytes)
		}
		a.revision = binary.BigEndian.Uint64(raw)
		if len(raw) > 8 {
			a.secret = raw[8:]
		}
	}
	a.current = auth.NewState(authEntries(d.store.System(auth.Prefix)), a.revision, a.secret)
	d.state.auth = a
	d.tellMalformed(nil, a.current.Malformed())
	d.users.Store(a.current)
	d.metrics.authRevision.Set(float64(a.revision))
	d.showAuthWithoutRoot(a.current)
	return nil
}

func authEntries(table []*store.SystemEntry) []auth.Entry {
	out := make([]auth.Entry, 0, len(table))
	for _, e := range table {
		if !e.Deleted {
			out = append(out, auth.Entry{Name: e.Name, Value: e.Value, Stamp: e.Geo.Stamp, Origin: e.Geo.Origin})
		}
	}
	return out
}

// users is the users and roles as of all that was applied before, this entry's items included.
func (a *applier) users() *auth.State {
	s := &a.dc.state.auth
	if s.dirty {
		s.current, s.dirty = auth.NewState(authEntries(a.batch.EachSystem(auth.Prefix)), s.revision, s.secret), false
	}
	return s.current
}

// saveAuth keeps revision and secret, and has the state made anew when it is needed next.
func (a *applier) saveAuth() {
	s := &a.dc.state.auth
	s.dirty = true
	a.batch.SetMeta(metaAuth, append(encodeUint64(s.revision), s.secret...))
}

// outdated says whether a client's write was permitted by other users and roles than are in force.
func (a *applier) outdated(it *item) bool {
	switch it.kind {
	case kindPut, kindDelete, kindTxn, kindRequest, kindCompact, kindAuth:
	default:
		return false
	}
	users := a.users()
	return users.Enabled && it.auth != users.Revision && !isSecretOnly(it)
}

// isSecretOnly says whether the item is the leader's own, with a secret and no request.
func isSecretOnly(it *item) bool {
	return it.kind == kindAuth && len(it.payload) > 2 && it.payload[0] == authFieldRequest<<3|2 && it.payload[1] == 0
}

// auth evaluates a change of users and roles.
func (a *applier) auth(it *item, stamp event.Stamp) (result, error) {
	r, secret, err := decodeAuth(it.payload)
	if err != nil {
		return result{}, err
	}
	s := &a.dc.state.auth
	if s.secret == nil && len(secret) == secretBytes {
		s.secret = secret
		a.saveAuth()
	}
	if isSecretOnly(it) {
		return result{}, nil
	}
	c, err := auth.Evaluate(a.users(), liveTable{a.batch}, r)
	if err == nil {
		err = a.roomFor(c.Edits)
	}
	if err != nil {
		if errors.Is(err, auth.ErrMalformed) {
			return result{}, fmt.Errorf("%w: upgrade this node", err)
		}
		return result{err: err}, nil
	}
	if r.AuthEnable != nil && len(c.Edits) > 0 && len(secret) == secretBytes {
		s.secret = secret // tokens of the time before are worth nothing, whatever became of the secret
	}
	commit := a.edit(c.Edits, stamp)
	if c.Bumps {
		s.revision++
	}
	if c.Bumps || len(c.Edits) > 0 {
		a.saveAuth()
		a.dc.log.Info("users and roles changed", "what", c.What, "auth_revision", s.revision)
	}
	setRevision(c.Response, a.batch.Revision())
	return result{response: c.Response, commit: commit}, nil
}

// roomFor refuses a change that would fill the table.
func (a *applier) roomFor(edits []auth.Edit) error {
	entries, bytes := a.batch.SystemSize()
	grows := false
	for _, e := range edits {
		if !e.Delete {
			grows = true
			entries++
			bytes += int64(len(e.Name) + len(e.Value))
		}
	}
	if grows && (entries > maxSystemEntries || bytes > maxSystemBytes) {
		return fmt.Errorf("%w: %d entries with %d bytes, the limits are %d and %d: delete users, roles or permissions",
			auth.ErrFull, entries, bytes, maxSystemEntries, maxSystemBytes)
	}
	return nil
}

// edit makes the edits one transaction of this DC.
func (a *applier) edit(edits []auth.Edit, stamp event.Stamp) Commit {
	if len(edits) == 0 {
		return Commit{}
	}
	a.batch.NextTxn()
	t := event.Txn{Revision: a.batch.Revision() + 1, Stamp: max(stamp, a.dc.state.high+1)}
	g := store.Geo{Origin: a.dc.cfg.Name, OriginRevision: t.Revision, Stamp: t.Stamp, Seen: a.seen}
	for _, e := range edits {
		op := event.Op{Kind: event.OpSystemPut, Key: []byte(e.Name), Value: e.Value}
		if e.Delete {
			op.Kind = event.OpSystemDelete
			a.batch.DeleteSystem(e.Name, g)
		} else {
			a.batch.PutSystem(e.Name, e.Value, g)
		}
		t.Ops = append(t.Ops, op)
	}
	a.dc.state.high = t.Stamp
	a.frame.Txns = append(a.frame.Txns, t)
	return Commit{Revision: t.Revision, Stamp: t.Stamp}
}

// setRevision makes the header of a response of any auth request.
func setRevision(response proto.Message, revision int64) {
	m := response.ProtoReflect()
	field := m.Descriptor().Fields().ByName("header")
	m.Set(field, protoreflect.ValueOfMessage((&pb.ResponseHeader{Revision: revision}).ProtoReflect()))
}

// liveTable is the live entries of the system table.
type liveTable struct{ batch *store.Batch }

func (t liveTable) Names(prefix string) (names []string) {
	for _, e := range t.batch.EachSystem(prefix) {
		if !e.Deleted {
			names = append(names, e.Name)
		}
	}
	return names
}

func (t liveTable) Has(name string) bool {
	e := t.batch.System(name)
	return e != nil && !e.Deleted
}

// touched takes note that another DC's change of the named entries counts here.
func (a *applier) touched(origin string, names []string) {
	for _, name := range names {
		if strings.HasPrefix(name, auth.Prefix) {
			s := &a.dc.state.auth
			s.revision++
			a.saveAuth()
			a.dc.log.Info("users and roles changed by another datacenter", "origin", origin,
				"entries", len(names), "auth_revision", s.revision)
			return
		}
	}
}

// publishAuth shows the readers what was applied. It runs in the apply goroutine, behind every entry.
func (d *DC) publishAuth() {
	s := &d.state.auth
	before := d.users.Load()
	if s.current == before {
		return
	}
	d.users.Store(s.current)
	d.tellMalformed(before.Malformed(), s.current.Malformed())
	if s.current.Enabled != before.Enabled || s.current.Locked() != before.Locked() {
		d.log.Info("authentication", "enabled", s.current.Enabled, "auth_revision", s.revision)
		d.showAuthWithoutRoot(s.current)
	}
	d.metrics.authRevision.Set(float64(s.revision))
}

// showAuthWithoutRoot is loud: who has enabled authentication believes that it is on.
func (d *DC) showAuthWithoutRoot(s *auth.State) {
	if !s.Locked() {
		d.metrics.withoutRoot.Set(0)
		return
	}
	d.metrics.withoutRoot.Set(1)
	d.log.Error("authentication is off although it was enabled, and everybody may do everything: the root user or its root role is gone, " +
		"deleted in another datacenter at the same time; add user root and grant it the role root to turn it on again")
}

// maxMalformedTold bounds how many entries that can't be read one line of the log names.
const maxMalformedTold = 10

// tellMalformed says which entries can't be read, when those are others than before.
func (d *DC) tellMalformed(before, now []error) {
	d.metrics.authMalformed.Set(float64(len(now)))
	told := errors.Join(now[:min(len(now), maxMalformedTold)]...)
	switch {
	case len(now) == len(before) && fmt.Sprint(told) == fmt.Sprint(errors.Join(before[:min(len(before), maxMalformedTold)]...)):
	case len(now) == 0:
		d.log.Info("all entries of users and roles can be read again")
	default:
		d.log.Error("entries of users and roles can't be read: they are kept and permit nothing; a newer build wrote them, or a datacenter that is not what it says: upgrade this node, or find out which datacenter sends them",
			"entries", len(now), "first", told)
	}
}

// provideSecret proposes what tokens of this DC are signed with, when it leads and has none.
func (d *DC) provideSecret() {
	s := &d.state.auth
	if s.secret != nil || s.asked || !s.current.Enabled {
		return
	}
	if _, leading := d.Leading(); !leading {
		return
	}
	if _, err := d.queue.add(item{kind: kindAuth, payload: encodeAuth(nil, newSecret())}); err != nil {
		d.log.Error("could not propose the secret of this datacenter's tokens; nobody can log in", "error", err)
		return
	}
	s.asked = true
}
