package dev

import (
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
)

const blackholeType = "geogate_blackhole"

// blackhole is a cut wire: nothing gets through, not even the end of a connection, so neither side
// learns of the cut but by silence. (Toxiproxy's timeout toxic passes the end on.) When the wire is
// whole again the connections that lost bytes can only be closed.
type blackhole struct{}

// Pipe drops whatever comes until the wire is whole again.
func (*blackhole) Pipe(stub *toxics.ToxicStub) {
	input := stub.Input
	for {
		select {
		case <-stub.Interrupt:
			return
		case chunk := <-input:
			if chunk == nil {
				input = nil // the end: keep it to ourselves
			}
		}
	}
}

// Cleanup ends the connection and takes what is still on its way, so that nobody waits to hand it over.
func (*blackhole) Cleanup(stub *toxics.ToxicStub) {
	stub.Close()
	go drain(stub.Input)
}

// drain ends when the sockets are closed, which closing the stub leads to.
func drain(input <-chan *stream.StreamChunk) {
	for range input {
	}
}
