// Package pb holds the wire messages between the nodes of one Raft group and the identity record of a log.
// It is generated from peer.proto and serves the hop "consensus" of the way of a write.
package pb

//go:generate protoc -I . --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative peer.proto
