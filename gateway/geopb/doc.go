// Package geopb is the generated code of geo.proto, the gRPC service geogate.v1.Geo.
package geopb

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative geo.proto
