package trunk

import (
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"geogate/test/allocs"
)

// TestAllocationsOfACall counts both ends and all of gRPC between them.
func TestAllocationsOfACall(t *testing.T) {
	line := echoLine(t)
	req := wrapperspb.Bytes(make([]byte, 256))
	allocs.AtMost(t, "a call", 70, func() {
		if _, err := line.Call(t.Context(), 0, "echo", nil, req, new(wrapperspb.BytesValue)); err != nil {
			t.Fatal(err)
		}
	})
}
