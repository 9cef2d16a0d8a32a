package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"geogate/cmd/importer"
	"geogate/test/cluster"
	"geogate/test/etcdbin"
)

// importing is an etcd with data, and a datacenter to move to.
type importing struct {
	t        *testing.T
	from, to *clientv3.Client
	fromAddr string
	toAddr   string
}

func newImporting(t *testing.T) *importing {
	t.Helper()
	etcd := etcdbin.New(t, 1)
	c := cluster.Start(t, cluster.Options{DCs: []string{"us-east"}})
	i := &importing{t: t, fromAddr: etcd.Endpoints()[0], toAddr: c.Node("us-east", "n0").Spec.Client, to: c.Client("us-east")}
	var err error
	if i.from, err = clientv3.New(clientv3.Config{Endpoints: []string{i.fromAddr}, Logger: zap.NewNop()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.from.Close() })
	return i
}

// start begins an import as a user would.
func (i *importing) start(args ...string) (cmd *exec.Cmd, stdout *bytes.Buffer) {
	i.t.Helper()
	cmd = exec.Command(cluster.Binary(i.t), append([]string{"import", "--from-etcd", i.fromAddr, "--to", i.toAddr, "-o", "json"}, args...)...)
	stdout = &bytes.Buffer{}
	cmd.Stdout = stdout
	if err := cmd.Start(); err != nil {
		i.t.Fatal(err)
	}
	return cmd, stdout
}

// run imports to the end.
func (i *importing) run(args ...string) importer.Result {
	i.t.Helper()
	cmd, stdout := i.start(args...)
	if err := cmd.Wait(); err != nil {
		i.t.Fatalf("import: %v", err)
	}
	var r importer.Result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		i.t.Fatalf("import printed %q: %v", stdout, err)
	}
	return r
}

func (i *importing) all(c *clientv3.Client) []*mvccpb.KeyValue {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(i.t.Context(), 10*time.Second)
	defer cancel()
	resp, err := c.Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil {
		i.t.Fatal(err)
	}
	return resp.Kvs
}

// difference is the first key in which the two sides differ.
func (i *importing) difference() string {
	a, b := i.all(i.from), i.all(i.to)
	for n := range max(len(a), len(b)) {
		switch {
		case n >= len(b) || n < len(a) && string(a[n].Key) < string(b[n].Key):
			return fmt.Sprintf("%q is only at the source", a[n].Key)
		case n >= len(a) || string(a[n].Key) > string(b[n].Key):
			return fmt.Sprintf("%q is only at the destination", b[n].Key)
		case !bytes.Equal(a[n].Value, b[n].Value) || a[n].Lease != b[n].Lease:
			return fmt.Sprintf("%q is %v there and %v here", a[n].Key, a[n], b[n])
		}
	}
	return ""
}

// write changes random keys until ctx ends, and returns how often.
func (i *importing) write(ctx context.Context, rnd *rand.Rand) (n int) {
	for ; ctx.Err() == nil; n++ {
		key := func() string { return fmt.Sprintf("k/%04d", rnd.IntN(3000)) }
		var err error
		switch rnd.IntN(4) {
		case 0:
			start := rnd.IntN(3000)
			_, err = i.from.Delete(ctx, fmt.Sprintf("k/%04d", start), clientv3.WithRange(fmt.Sprintf("k/%04d", start+rnd.IntN(200))))
		case 1:
			a, b := key(), key()
			if a != b {
				_, err = i.from.Txn(ctx).Then(clientv3.OpPut(a, "txn"), clientv3.OpPut(b, "txn")).Commit()
			}
		default:
			_, err = i.from.Put(ctx, key(), fmt.Sprint(rnd.Uint64()))
		}
		if err != nil && ctx.Err() == nil {
			i.t.Errorf("write to the source: %v", err)
			return n
		}
	}
	return n
}

func (i *importing) seed(keys int) {
	i.t.Helper()
	for n := 0; n < keys; n += 100 {
		var ops []clientv3.Op
		for k := n; k < min(n+100, keys); k++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("k/%04d", k), strings.Repeat("v", k%300)))
		}
		if _, err := i.from.Txn(i.t.Context()).Then(ops...).Commit(); err != nil {
			i.t.Fatal(err)
		}
	}
}

// lease puts a key under a lease of the source.
func (i *importing) lease(ttl int64, key string) clientv3.LeaseID {
	i.t.Helper()
	l, err := i.from.Grant(i.t.Context(), ttl)
	if err == nil {
		_, err = i.from.Put(i.t.Context(), key, "leased", clientv3.WithLease(l.ID))
	}
	if err != nil {
		i.t.Fatal(err)
	}
	return l.ID
}

// TestImportWhileTheSourceIsWritten kills an importer again and again, compacts the source under it, and cuts
// over in the end: both sides are equal, and nothing of the import is left.
func TestImportWhileTheSourceIsWritten(t *testing.T) {
	t.Parallel()
	i := newImporting(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	i.seed(3000)
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan int, 1)
	go func() { written <- i.write(ctx, rand.New(rand.NewPCG(seed, 1))) }()
	for range 4 {
		cmd, _ := i.start("--follow")
		time.Sleep(time.Duration(50+rnd.IntN(500)) * time.Millisecond) // a random moment to be killed at
		resp, err := i.from.Get(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := i.from.Compact(ctx, resp.Header.Revision); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it says that it was killed
	}
	stop()
	t.Logf("%d writes at the source meanwhile", <-written)
	r := i.run()
	if !r.Verified || r.Keys == 0 {
		t.Errorf("result: %+v", r)
	}
	if d := i.difference(); d != "" {
		t.Error(d)
	}
	if again := i.run("--merge"); again.Written != 0 {
		t.Errorf("an import of the same again wrote %d keys", again.Written)
	}
}

// TestImportFollows applies what happens at the source within a moment, transactions whole, until it is told to
// stop; and then leaves the destination ready to be taken up again.
func TestImportFollows(t *testing.T) {
	t.Parallel()
	i := newImporting(t)
	i.seed(200)
	long, short := i.lease(600, "lease/long"), i.lease(5, "lease/short")
	cmd, stdout := i.start("--follow")
	eventuallyEqual := func() {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for {
			a, b := i.all(i.from), i.all(i.to)
			if len(b) == len(a)+1 { // the import's note
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d keys at the source, %d here", len(a), len(b))
			}
		}
	}
	eventuallyEqual()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watch := i.to.Watch(ctx, "pair/", clientv3.WithPrefix(), clientv3.WithRev(1))
	if _, err := i.from.Txn(ctx).Then(clientv3.OpPut("pair/a", "1"), clientv3.OpPut("pair/b", "1")).Commit(); err != nil {
		t.Fatal(err)
	}
	if resp := <-watch; len(resp.Events) != 2 || resp.Events[0].Kv.ModRevision != resp.Events[1].Kv.ModRevision {
		t.Errorf("the transaction arrived as %+v", resp)
	}
	// What nobody renews at the source ends here too, and what lives there lives here.
	for end := time.Now().Add(30 * time.Second); ; {
		if _, there := get(t, i.to, "lease/short"); !there {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a key whose lease has ended at the source is still here")
		}
	}
	if left, err := i.to.TimeToLive(ctx, long); err != nil || left.TTL < 500 || left.GrantedTTL != 600 {
		t.Errorf("the long lease: %+v, %v", left, err)
	}
	if left, err := i.to.TimeToLive(ctx, short); err != nil || left.TTL > 5 {
		t.Errorf("the short lease: %+v, %v", left, err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGINT: %v", err)
	}
	var r importer.Result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || r.Verified {
		t.Errorf("result: %+v, %v", r, err)
	}
	if r := i.run(); !r.Verified {
		t.Errorf("result: %+v", r)
	}
	if d := i.difference(); d != "" {
		t.Error(d)
	}
}

// TestImportRefusals shows what an operator reads who would lose data.
func TestImportRefusals(t *testing.T) {
	t.Parallel()
	i := newImporting(t)
	i.seed(10)
	if _, err := i.to.Put(t.Context(), "k/mine", "precious"); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"--prefix k/":                           "it has 1 keys under \"k/\", such as \"k/mine\"",
		"--to-prefix x/":                        "needs a --prefix",
		"--to " + i.fromAddr:                    "source and destination are the same cluster",
		"--from-user alice":                     "has no password",
		"--prefix k/ --to-prefix other/ --junk": "unknown flag: --junk",
	} {
		if !strings.Contains(args, "--to ") {
			args += " --to " + i.toAddr
		}
		cmd := exec.Command(cluster.Binary(t), append([]string{"import", "--from-etcd", i.fromAddr}, strings.Fields(args)...)...)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", args, err, out)
		}
	}
	r := i.run("--prefix", "k/", "--to-prefix", "moved/")
	if got, _ := get(t, i.to, "moved/0003"); got != "vvv" || !r.Verified {
		t.Errorf("moved/0003 is %q, %+v", got, r)
	}
	i.run("--prefix", "k/", "--merge")
	if got, _ := get(t, i.to, "k/mine"); got != "precious" {
		t.Errorf("k/mine is %q", got)
	}
}

// TestMakeMirror is etcd's own way to copy, for those who have it set up.
func TestMakeMirror(t *testing.T) {
	t.Parallel()
	i := newImporting(t)
	i.seed(300)
	cmd := exec.Command(etcdctl(t), "make-mirror", "--endpoints="+i.fromAddr, i.toAddr)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if _, err := i.from.Delete(t.Context(), "k/0007"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i.difference() != "" {
		select {
		case err := <-ended:
			t.Fatalf("make-mirror ended: %v\n%s", err, &out)
		case <-ctx.Done():
			t.Fatalf("not equal within 30 s: %s\n%s", i.difference(), &out)
		default:
		}
	}
	_ = cmd.Process.Kill()
	<-ended
}
