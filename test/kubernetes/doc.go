// Package kubernetes shows that a Kubernetes API server can have its data in geogate: its tests are the API server's
// own storage layer, k8s.io/apiserver/pkg/storage/etcd3, against a running cluster. It is a module of its own, because
// that layer needs some 780 packages that geogate does not. The tests take the cluster from the environment:
// TestKubernetes in the folder above builds them, and runs them against geogate and against etcd. They serve no hop of the
// write path, run one after the other and must have a cluster to themselves.
package kubernetes
