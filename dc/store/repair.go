package store

// Replace makes a state the newest of a key, whatever was there before, and takes the transaction's revision
// also where that is no event (a grave for a key that is not live). A put gets the create revision and version
// of v, or with create 0 its own revision. So replicas that differ in this key, and in nothing else, agree
// afterwards in all that a later entry can see: value, revisions, version, stamp.
func (b *Batch) Replace(v *Version) {
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
		it = b.s.index.get(v.Key)
		if it.create, it.version = v.Create, v.Version; it.create == 0 {
			it.create = it.mod
		}
		r := b.s.active.find(it.mod, it.sub)
		r.Create, r.Version.Version = it.create, it.version
	}
}
