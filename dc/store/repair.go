package store

// Replace makes a state the newest of a key, whatever was there before, and takes the transaction's revision
// also where that is no event (a grave for a key that is not live). With fresh, a put counts as the first
// version of the key. So replicas that differ in this key, and in nothing else, agree afterwards in all that
// a later entry can see: value, revisions, version, stamp.
func (b *Batch) Replace(v *Version, fresh bool) {
	b.TakeRevision()
	it := b.s.index.get(v.Key)
	live := it != nil && it.live
	switch {
	case v.Deleted && live:
		b.Delete(v.Key, v.Geo)
	case v.Deleted:
		b.Bury(v.Key, v.Geo)
	default:
		b.Put(v.Key, v.Value, v.Lease, v.Geo)
		if fresh {
			b.s.index.get(v.Key).restart(b.s.active)
		}
	}
}

// restart makes the newest version the first one of its key.
func (it *item) restart(active *buffer) {
	it.create, it.version = it.mod, 1
	r := active.find(it.mod, it.sub)
	r.Create, r.Version.Version = it.create, it.version
}
