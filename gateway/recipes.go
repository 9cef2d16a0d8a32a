package gateway

import (
	"context"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"geogate/gateway/recipe"
)

// newRecipes is what the Lock and Election services of this gateway use.
func (s *Server) newRecipes() *recipe.Client {
	return recipe.NewClient(recipe.Config{
		Dial: s.split.Dial, Outgoing: recipeMetadata, Stopping: s.stopping,
		Check: func(m proto.Message) error { return checkSize(m, s.cfg.MaxRequestBytes) },
	})
}

// recipeMetadata is what the caller's metadata says (policy, timeout, credentials, hasleader). A request id does not go
// along: it is of one write, and a recipe makes several.
func recipeMetadata(ctx context.Context) metadata.MD {
	in, _ := metadata.FromIncomingContext(ctx)
	md := forwardable(in)
	delete(md, metaRequestID)
	delete(md, metaForwarded)
	return md
}
