// Package trunkpb is the generated code of trunk.proto, the gRPC service geogate.v1.Trunk.
package trunkpb

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative trunk.proto
