package etcdbin

import (
	"context"
	"testing"
)

// New starts a cluster for a test, in the test's own folder, and stops it when the test ends. The test
// fails when a member ended by itself before.
func New(t testing.TB, members int, args ...string) *Cluster {
	t.Helper()
	// The cluster outlives the test's own context, which ends before the cleanups run.
	ctx := context.WithoutCancel(t.Context())
	path, err := Etcd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := Start(ctx, Config{Path: path, Dir: t.TempDir(), Members: members, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}
