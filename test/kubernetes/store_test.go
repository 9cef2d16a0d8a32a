package kubernetes

import (
	"context"
	"io"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	etcdkubernetes "go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// The environment of a run.
const (
	endpointsEnv = "GEOGATE_KUBERNETES_ENDPOINTS" // host:port of all nodes, comma separated
	faultEnv     = "GEOGATE_KUBERNETES_FAULT"     // a URL: POST kills the leader and starts it again; may be empty
)

// valuePrefix is what the transformer puts before each value, as encryption at rest would.
const valuePrefix = "test!"

func TestMain(m *testing.M) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard) // the storage layer logs each retry
	os.Exit(m.Run())
}

func endpoints(t *testing.T) []string {
	t.Helper()
	eps := os.Getenv(endpointsEnv)
	if eps == "" {
		t.Skipf("no %s: go test ./test -run TestKubernetes starts a cluster and sets it", endpointsEnv)
	}
	return strings.Split(eps, ",")
}

// codec is the one of the example API, which has pods of few fields.
func codec(t *testing.T) runtime.Codec {
	t.Helper()
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	for _, add := range []func(*runtime.Scheme) error{example.AddToScheme, examplev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return serializer.NewCodecFactory(scheme).LegacyCodec(examplev1.SchemeGroupVersion)
}

// transformer is one that a test can exchange while the store uses it.
type transformer struct {
	now atomic.Pointer[value.Transformer]
}

func (x *transformer) set(v value.Transformer) { x.now.Store(&v) }

func (x *transformer) TransformFromStorage(ctx context.Context, data []byte, of value.Context) ([]byte, bool, error) {
	return (*x.now.Load()).TransformFromStorage(ctx, data, of)
}

func (x *transformer) TransformToStorage(ctx context.Context, data []byte, of value.Context) ([]byte, error) {
	return (*x.now.Load()).TransformToStorage(ctx, data, of)
}

// store is the storage layer of one API server, in a corner of the keyspace that is its test's own.
type store struct {
	storage.Interface

	client      *etcdkubernetes.Client
	codec       runtime.Codec
	prefix      string
	transformer *transformer
	reads       *storagetesting.KVRecorder
	lists       *storagetesting.KubernetesRecorder
}

// newStore is an API server's storage of the test's pods. Those of one test share their data.
func newStore(t *testing.T, leases ...etcd3.LeaseManagerConfig) *store {
	t.Helper()
	client, err := etcdkubernetes.New(clientv3.Config{Endpoints: endpoints(t), DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	s := &store{client: client, codec: codec(t), prefix: "/registry-" + strings.ReplaceAll(t.Name(), "/", "-"), transformer: &transformer{}}
	s.lists = storagetesting.NewKubernetesRecorder(client.Kubernetes)
	s.reads = storagetesting.NewKVRecorder(client.KV, s.lists)
	client.KV, client.Kubernetes = s.reads, s.lists
	s.transformer.set(storagetesting.NewPrefixTransformer([]byte(valuePrefix), false))

	lease := etcd3.LeaseManagerConfig{ReuseDurationSeconds: 1} // a TTL of one second shall not last a minute
	if len(leases) > 0 {
		lease = leases[0]
	}
	compactor := etcd3.NewCompactor(client.Client, 0, clock.RealClock{}, nil) // it only follows what others compact
	t.Cleanup(compactor.Stop)
	versioner := storage.APIObjectVersioner{}
	inner, err := etcd3.New(client, compactor, s.codec, newPod, newPodList, s.prefix, "/pods/",
		schema.GroupResource{Resource: "pods"}, s.transformer, lease, etcd3.NewDefaultDecoder(s.codec, versioner), versioner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(inner.Close)
	s.Interface = inner
	return s
}

func newPod() runtime.Object     { return &example.Pod{} }
func newPodList() runtime.Object { return &example.PodList{} }

// UpdatePrefixTransformer is what the suite wants of a store whose values it changes on their way.
func (s *store) UpdatePrefixTransformer(modify storagetesting.PrefixTransformerModifier) func() {
	before := *s.transformer.now.Load()
	changed := *before.(*storagetesting.PrefixTransformer)
	s.transformer.set(modify(&changed))
	return func() { s.transformer.set(before) }
}

// validate is the suite's check of what is stored.
func (s *store) validate(ctx context.Context, t *testing.T, key string) {
	t.Helper()
	resp, err := s.client.KV.Get(ctx, path.Join(s.prefix, key))
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("get %s: %v, %v", key, resp, err)
	}
	obj, err := runtime.Decode(s.codec, resp.Kvs[0].Value[len(valuePrefix):])
	if err != nil {
		t.Fatalf("decode %q: %v", resp.Kvs[0].Value, err)
	}
	if pod := obj.(*example.Pod); pod.ResourceVersion != "" || pod.SelfLink != "" {
		t.Errorf("stored with resource version %q and self link %q, want neither", pod.ResourceVersion, pod.SelfLink)
	}
}

// compact drops history as API servers do, and waits until the store has heard of it.
func (s *store) compact(ctx context.Context, t *testing.T, resourceVersion string) {
	t.Helper()
	rev, err := storage.APIObjectVersioner{}.ParseResourceVersion(resourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	var version int64
	resp, err := s.client.KV.Get(ctx, "compact_rev_key")
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) > 0 {
		version = resp.Kvs[0].Version
	}
	if _, _, compacted, err := etcd3.Compact(ctx, s.client.Client, version, int64(rev)); err != nil || compacted != int64(rev) {
		t.Fatalf("compact to %d: compacted %d, %v", rev, compacted, err)
	}
	eventually(t, 20*time.Second, "the store to know of the compaction", func() bool { return s.CompactRevision() == int64(rev) })
}

// raise makes the revision greater by a key that no store looks at.
func (s *store) raise(ctx context.Context, t *testing.T) int64 {
	t.Helper()
	resp, err := s.client.KV.Put(ctx, "elsewhere", "v")
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

func eventually(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", within, what)
		}
	}
}
