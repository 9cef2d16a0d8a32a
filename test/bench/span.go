package main

import "time"

// span is when something was.
type span struct{ began, ended time.Time }

func (s span) length() time.Duration { return s.ended.Sub(s.began) }

// covers says whether all of another span is within this one.
func (s span) covers(o span) bool { return !o.began.Before(s.began) && !o.ended.After(s.ended) }

// join is from the earlier beginning to the later end.
func (s span) join(o span) span {
	if o.began.Before(s.began) {
		s.began = o.began
	}
	if o.ended.After(s.ended) {
		s.ended = o.ended
	}
	return s
}
