// Package store is the multi-version store of one replica: etcd's revisions, ranges, watches and compaction
// over bbolt, plus what geo-replication needs beside each key (origin, origin revision, stamp, graves) and
// the chains of frames. It serves the hop "dc (apply)" of the way of a write.
//
// Applying never touches the disk: a [Batch] changes the index in memory and a pending buffer, and
// [Batch.Commit] is the one point where a batch becomes visible to readers and is queued to watchers. A
// background flusher ([Store.Run]) writes whole buffers, each in one bbolt transaction together with the
// applied index; what was not flushed is replayed from the Raft log. README.md has the tables of the file.
//
// One goroutine applies. Everything else may be called from any goroutine: readers take a read lock only
// while they look at the index, never while they read values or while the disk syncs.
package store
