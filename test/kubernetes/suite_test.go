package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"k8s.io/apiserver/pkg/features"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
)

// suite is what Kubernetes asks of a storage. A test makes a store for itself.
type suite map[string]func(ctx context.Context, t *testing.T, s *store)

func (tests suite) run(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		t.Run(name, func(t *testing.T) { tests[name](t.Context(), t, newStore(t)) })
	}
}

// TestObjects creates, reads, updates and deletes single objects.
func TestObjects(t *testing.T) {
	suite{
		"Create": func(ctx context.Context, t *testing.T, s *store) { storagetesting.RunTestCreate(ctx, t, s, s.validate) },
		"CreateWithTTL": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestCreateWithTTL(ctx, t, s)
		},
		"CreateWithKeyExist": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestCreateWithKeyExist(ctx, t, s)
		},
		"Get": func(ctx context.Context, t *testing.T, s *store) { storagetesting.RunTestGet(ctx, t, s) },
		"UnconditionalDelete": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestUnconditionalDelete(ctx, t, s)
		},
		"ConditionalDelete": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestConditionalDelete(ctx, t, s)
		},
		"DeleteWithSuggestion": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestDeleteWithSuggestion(ctx, t, s)
		},
		"DeleteWithSuggestionAndConflict": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestDeleteWithSuggestionAndConflict(ctx, t, s)
		},
		"DeleteWithSuggestionOfDeletedObject": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestDeleteWithSuggestionOfDeletedObject(ctx, t, s)
		},
		"ValidateDeletionWithSuggestion": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestValidateDeletionWithSuggestion(ctx, t, s)
		},
		"ValidateDeletionWithOnlySuggestionValid": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestValidateDeletionWithOnlySuggestionValid(ctx, t, s)
		},
		"DeleteWithConflict": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestDeleteWithConflict(ctx, t, s)
		},
		"PreconditionalDeleteWithSuggestion": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestPreconditionalDeleteWithSuggestion(ctx, t, s)
		},
		"PreconditionalDeleteWithOnlySuggestionPass": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass(ctx, t, s)
		},
		"GuaranteedUpdate": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestGuaranteedUpdate(ctx, t, s, s.validate)
		},
		"GuaranteedUpdateWithTTL": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestGuaranteedUpdateWithTTL(ctx, t, s)
		},
		"GuaranteedUpdateChecksStoredData": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestGuaranteedUpdateChecksStoredData(ctx, t, s)
		},
		"GuaranteedUpdateWithConflict": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestGuaranteedUpdateWithConflict(ctx, t, s)
		},
		"GuaranteedUpdateWithSuggestionAndConflict": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict(ctx, t, s)
		},
		"TransformationFailure": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestTransformationFailure(ctx, t, s)
		},
		"Stats": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestStats(ctx, t, s, s.codec, s.transformer, false)
		},
		"KeySchema": func(ctx context.Context, t *testing.T, s *store) { storagetesting.RunTestKeySchema(ctx, t, s) },
	}.run(t)
}

// TestLists lists with and without a limit, now, at exact resource versions and at not older ones, before and after
// compaction; in pages and by RangeStream.
func TestLists(t *testing.T) {
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream=%v", stream), func(t *testing.T) {
			featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.EtcdRangeStream, stream)
			noCalls := func(*testing.T, uint64, uint64) {} // it wants to count the pages, which are not the server's doing
			suite{
				"List": func(ctx context.Context, t *testing.T, s *store) {
					storagetesting.RunTestList(ctx, t, s, s.compact, false, s.lists)
					if n := s.reads.GetStreamReadsAndReset(); (n > 0) != stream {
						t.Errorf("%d lists by RangeStream", n)
					}
				},
				"ConsistentList": func(ctx context.Context, t *testing.T, s *store) {
					storagetesting.RunTestConsistentList(ctx, t, s, s.raise, false, true, false)
				},
				"ListPaging": func(ctx context.Context, t *testing.T, s *store) { storagetesting.RunTestListPaging(ctx, t, s) },
				"GetListNonRecursive": func(ctx context.Context, t *testing.T, s *store) {
					storagetesting.RunTestGetListNonRecursive(ctx, t, s.raise, s)
				},
				"GetListRecursivePrefix": func(ctx context.Context, t *testing.T, s *store) {
					storagetesting.RunTestGetListRecursivePrefix(ctx, t, s)
				},
				"NamespaceScopedList": func(ctx context.Context, t *testing.T, s *store) {
					storagetesting.RunTestNamespaceScopedList(ctx, t, s)
				},
				"ListContinuation": func(ctx context.Context, t *testing.T, s *store) {
					storagetesting.RunTestListContinuation(ctx, t, s, noCalls)
				},
				"ListPaginationRareObject": func(ctx context.Context, t *testing.T, s *store) {
					storagetesting.RunTestListPaginationRareObject(ctx, t, s, noCalls)
				},
				"ListContinuationWithFilter": func(ctx context.Context, t *testing.T, s *store) {
					storagetesting.RunTestListContinuationWithFilter(ctx, t, s, noCalls)
				},
				"ListInconsistentContinuation": func(ctx context.Context, t *testing.T, s *store) {
					storagetesting.RunTestListInconsistentContinuation(ctx, t, s, s.compact)
				},
				"ListResourceVersionMatch": func(ctx context.Context, t *testing.T, s *store) {
					storagetesting.RunTestListResourceVersionMatch(ctx, t, s)
				},
				"CompactRevision": func(ctx context.Context, t *testing.T, s *store) {
					storagetesting.RunTestCompactRevision(ctx, t, s, s.raise, s.compact)
				},
			}.run(t)
		})
	}
}

// TestWatches watches from now, from a resource version and with initial events, over compactions, with bookmarks.
// The cluster sends progress every second.
func TestWatches(t *testing.T) {
	suite{
		"Watch": func(ctx context.Context, t *testing.T, s *store) { storagetesting.RunTestWatch(ctx, t, s) },
		"ClusterScopedWatch": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestClusterScopedWatch(ctx, t, s)
		},
		"NamespaceScopedWatch": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestNamespaceScopedWatch(ctx, t, s)
		},
		"DeleteTriggerWatch": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestDeleteTriggerWatch(ctx, t, s)
		},
		"WatchFromZero": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestWatchFromZero(ctx, t, s, s.compact)
		},
		"WatchFromNonZero": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestWatchFromNonZero(ctx, t, s)
		},
		"DelayedWatchDelivery": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestDelayedWatchDelivery(ctx, t, s)
		},
		"WatchError":         func(ctx context.Context, t *testing.T, s *store) { storagetesting.RunTestWatchError(ctx, t, s) },
		"WatchContextCancel": func(ctx context.Context, t *testing.T, s *store) { storagetesting.RunTestWatchContextCancel(ctx, t, s) },
		"WatcherTimeout":     func(ctx context.Context, t *testing.T, s *store) { storagetesting.RunTestWatcherTimeout(ctx, t, s) },
		"WatchDeleteEventObjectHaveLatestRV": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV(ctx, t, s)
		},
		"WatchInitializationSignal": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunTestWatchInitializationSignal(ctx, t, s)
		},
		"ProgressNotify": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunOptionalTestProgressNotify(ctx, t, s, s.raise)
		},
		"SendInitialEventsBackwardCompatibility": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunSendInitialEventsBackwardCompatibility(ctx, t, s)
		},
		"WatchErrorIsBlockingFurtherEvents": func(ctx context.Context, t *testing.T, s *store) {
			storagetesting.RunWatchErrorIsBlockingFurtherEvents(ctx, t, s)
		},
	}.run(t)
}

// TestFreshWatches makes all kinds of watches, of resource version 1 too: it fails where history was compacted before.
func TestFreshWatches(t *testing.T) {
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream=%v", stream), func(t *testing.T) {
			featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.EtcdRangeStream, stream)
			suite{
				"WatchSemantics": func(ctx context.Context, t *testing.T, s *store) { storagetesting.RunWatchSemantics(ctx, t, s) },
				"WatchSemanticInitialEventsExtended": func(ctx context.Context, t *testing.T, s *store) {
					storagetesting.RunWatchSemanticInitialEventsExtended(ctx, t, s)
				},
				"WatchListMatchSingle": func(ctx context.Context, t *testing.T, s *store) {
					storagetesting.RunWatchListMatchSingle(ctx, t, s)
				},
			}.run(t)
		})
	}
}
