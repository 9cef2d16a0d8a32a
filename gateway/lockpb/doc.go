// Package lockpb is the generated code of lock.proto, etcd's gRPC service v3lockpb.Lock. etcd's own generated code is
// in its server module, of which this one pins a version that does not fit the API that clients use.
//
// To generate, GOOGLEAPIS must name a copy of github.com/googleapis/googleapis, which etcd's API imports; protoc-gen-grpc-gateway is
// that of the module github.com/grpc-ecosystem/grpc-gateway/v2 in go.mod.
package lockpb

//go:generate sh -c "protoc -I. -Ietcd/api=$(go list -m -f {{.Dir}} go.etcd.io/etcd/api/v3) -I$GOOGLEAPIS -I$(go list -m -f {{.Dir}} github.com/grpc-ecosystem/grpc-gateway/v2) --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative --grpc-gateway_out=. --grpc-gateway_opt=paths=source_relative,grpc_api_configuration=lock.http.yaml lock.proto"
