// Package wire holds the messages that datacenters exchange: protobuf envelopes, their signatures and MACs, and the
// packing of frames into stream messages and back.
//
// It serves the hops "shipper" and "receiver" of the way of a write, and the ack on the way back. It is a
// leaf: values in, values out, no I/O. [Signer] and [Verifier] are immutable and safe for concurrent use;
// so is [Pieces]. An [Assembler], a [Packer] and an [Unpacker] belong to one goroutine each.
package wire

//go:generate protoc --go_out=. --go_opt=paths=source_relative wire.proto
