package check

import "fmt"

// shown bounds how many problems of one kind are spelt out.
const shown = 5

// list collects problems of one kind.
type list struct {
	lines []string
	more  int
}

func (l *list) addf(format string, args ...any) {
	if len(l.lines) < shown {
		l.lines = append(l.lines, fmt.Sprintf(format, args...))
		return
	}
	l.more++
}

func (l *list) problems() []string {
	if l.more > 0 {
		return append(l.lines, fmt.Sprintf("and %d more like these", l.more))
	}
	return l.lines
}
