package express

import (
	"testing"
)

// BenchmarkCall has 64 calls of 256 bytes at a time on one connection: over the lane, and through gRPC's server.
func BenchmarkCall(b *testing.B) {
	for _, method := range []string{"Lane", "Grpc"} {
		b.Run(method, func(b *testing.B) {
			k := start(b, nil, nil)
			conn := k.dial()
			body := make([]byte, 256)
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := call(b.Context(), conn, method, body); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
