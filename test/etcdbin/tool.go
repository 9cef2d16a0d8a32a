package etcdbin

import (
	"context"
	"path/filepath"
)

// tool is a program and the module, by its folder in the source tree, whose go.mod pins its version.
type tool struct {
	name   string
	pkg    string
	module string
}

// etcd's own modules can't be installed by `go install pkg@version` (they hold replace directives), and
// 3.7 does not fit into geogate's go.mod beside the 3.5 packages that geogate imports: hence a module of
// their own. The NATS server is the version that geogate embeds.
var (
	etcdTool    = tool{"etcd", "go.etcd.io/etcd/server/v3", filepath.Join("test", "tools", "etcd")}
	etcdctlTool = tool{"etcdctl", "go.etcd.io/etcd/etcdctl/v3", filepath.Join("test", "tools", "etcd")}
	natsTool    = tool{"nats-server", "github.com/nats-io/nats-server/v2", "."}
)

// Etcd is the path of the pinned etcd server; it is built first if need be, which takes a minute or two.
func Etcd(ctx context.Context) (string, error) { return etcdTool.path(ctx) }

// Etcdctl is the path of the pinned etcdctl.
func Etcdctl(ctx context.Context) (string, error) { return etcdctlTool.path(ctx) }

// NATSServer is the path of the NATS server of the version that geogate embeds.
func NATSServer(ctx context.Context) (string, error) { return natsTool.path(ctx) }
