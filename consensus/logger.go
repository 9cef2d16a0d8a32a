package consensus

import (
	"fmt"
	"log/slog"

	"go.etcd.io/etcd/raft/v3"
)

// raftPanic carries what made the raft library give up, so that the loop can turn it into an error: a disk
// that lost what it had confirmed is an operator's problem, not a bug.
type raftPanic struct{ says string }

// raftGivesUp is deferred around calls of the raft library; it sets err after such a panic.
func raftGivesUp(err *error) {
	switch p := recover().(type) {
	case nil:
	case raftPanic:
		*err = fmt.Errorf("%w: %s; if this node's disk was deleted or restored from an old copy, %s", ErrBroken, p.says, replaceNode)
	default:
		panic(p)
	}
}

// raftLogger writes the raft library's lines to a slog.Logger, one level lower than the library has them:
// what matters of an election is logged by the loop.
type raftLogger struct{ log *slog.Logger }

var _ raft.Logger = raftLogger{}

func (l raftLogger) Debug(...any)          {}
func (l raftLogger) Debugf(string, ...any) {}

func (l raftLogger) Info(v ...any)            { l.log.Debug("raft", "says", fmt.Sprint(v...)) }
func (l raftLogger) Infof(f string, v ...any) { l.log.Debug("raft", "says", fmt.Sprintf(f, v...)) }
func (l raftLogger) Warning(v ...any)         { l.log.Info("raft", "says", fmt.Sprint(v...)) }
func (l raftLogger) Warningf(f string, v ...any) {
	l.log.Info("raft", "says", fmt.Sprintf(f, v...))
}
func (l raftLogger) Error(v ...any)            { l.log.Warn("raft", "says", fmt.Sprint(v...)) }
func (l raftLogger) Errorf(f string, v ...any) { l.log.Warn("raft", "says", fmt.Sprintf(f, v...)) }
func (l raftLogger) Fatal(v ...any)            { panic(raftPanic{fmt.Sprint(v...)}) }
func (l raftLogger) Fatalf(f string, v ...any) { panic(raftPanic{fmt.Sprintf(f, v...)}) }
func (l raftLogger) Panic(v ...any)            { panic(raftPanic{fmt.Sprint(v...)}) }
func (l raftLogger) Panicf(f string, v ...any) { panic(raftPanic{fmt.Sprintf(f, v...)}) }
