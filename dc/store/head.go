package store

// Head is the newest state of a key; false when nothing is known of it.
func (s *Store) Head(key []byte) (Head, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.readableLocked(); err != nil {
		return Head{}, false, err
	}
	it := s.index.get(key)
	if it == nil {
		return Head{}, false, nil
	}
	h, known := it.head(s.originNames())
	return h, known, nil
}
