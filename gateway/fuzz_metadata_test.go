package gateway

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"geogate/dc"
)

// FuzzMetadata: any metadata is a policy, a timeout within the bound and an id that the log takes, or ErrMetadata.
func FuzzMetadata(f *testing.F) {
	f.Add("ALL", "500ms", "id")
	f.Add("async", "-1ns", "")
	f.Add("", "9223372036854775807h", "two\x00")
	f.Fuzz(func(t *testing.T, policyText, timeout, id string) {
		ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(
			metaPolicy, policyText, metaTimeout, timeout, metaRequestID, id, "token", id,
		))
		r := rule{timeout: time.Second}
		err := r.override(ctx, time.Minute)
		if err == nil {
			err = r.readRequestID(ctx)
		}
		if err != nil {
			if !errors.Is(err, ErrMetadata) {
				t.Fatalf("%v does not wrap ErrMetadata", err)
			}
			return
		}
		if r.timeout <= 0 || r.timeout > time.Minute || len(r.request) > dc.MaxRequestID || r.request != id {
			t.Fatalf("%+v", r)
		}
	})
}
