package dev

import (
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
)

const delayType = "geogate_delay"

// delay is a long wire: everything arrives Millis after it was sent. (Toxiproxy's latency toxic does the same by
// a timer of Go's, which an idle process is told of up to a millisecond late: 0.7 ms on each way here, and so as
// much as three datacenters take to commit a write.)
type delay struct {
	Millis int64 `json:"millis"`
}

// delayChunks bounds what is on its way in one direction of a connection, in chunks of at most 32 KiB.
const delayChunks = 1024

// GetBufferSize is asked by toxiproxy.
func (*delay) GetBufferSize() int { return delayChunks }

// Pipe hands on each chunk when its time has come.
func (d *delay) Pipe(stub *toxics.ToxicStub) {
	alarm := newAlarm()
	defer alarm.close()
	for {
		var chunk *stream.StreamChunk
		select {
		case <-stub.Interrupt:
			return
		case chunk = <-stub.Input:
		}
		if chunk == nil {
			stub.Close()
			return
		}
		due := chunk.Timestamp.Add(time.Duration(d.Millis) * time.Millisecond)
		if left := time.Until(due); left > 0 {
			select {
			case <-alarm.in(left):
			case <-stub.Interrupt: // the wire changes; what is on it must not be lost
				stub.Output <- chunk
				return
			}
		}
		chunk.Timestamp = due
		stub.Output <- chunk
	}
}
