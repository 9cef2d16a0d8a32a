package consensus

import (
	"slices"
	"testing"

	"go.etcd.io/etcd/raft/v3/raftpb"
)

func TestIncludedMessagesAreNotSent(t *testing.T) {
	ack := func(to, index uint64) raftpb.Message {
		return raftpb.Message{Type: raftpb.MsgAppResp, To: to, Term: 3, Index: index}
	}
	appended := func(to, index, commit uint64, entries int) raftpb.Message {
		return raftpb.Message{Type: raftpb.MsgApp, To: to, Term: 3, Index: index, LogTerm: 2, Commit: commit, Entries: make([]raftpb.Entry, entries)}
	}
	with := func(m raftpb.Message, change func(*raftpb.Message)) raftpb.Message {
		change(&m)
		return m
	}
	for name, c := range map[string]struct {
		messages []raftpb.Message
		sent     []int
	}{
		"a later confirmation":              {[]raftpb.Message{ack(1, 5), ack(1, 6), ack(2, 5)}, []int{1, 2}},
		"a lower confirmation":              {[]raftpb.Message{ack(1, 6), ack(1, 5)}, []int{0, 1}},
		"a refusal is no confirmation":      {[]raftpb.Message{ack(1, 5), with(ack(1, 6), func(m *raftpb.Message) { m.Reject = true })}, []int{0, 1}},
		"a refusal is always sent":          {[]raftpb.Message{with(ack(1, 5), func(m *raftpb.Message) { m.Reject = true }), ack(1, 6)}, []int{0, 1}},
		"another term":                      {[]raftpb.Message{ack(1, 5), with(ack(1, 6), func(m *raftpb.Message) { m.Term = 4 })}, []int{0, 1}},
		"a commit index before entries":     {[]raftpb.Message{appended(1, 5, 5, 0), appended(2, 5, 5, 0), appended(1, 5, 5, 1), appended(2, 5, 5, 1)}, []int{2, 3}},
		"several in a row":                  {[]raftpb.Message{appended(1, 5, 3, 0), appended(1, 5, 4, 0), appended(1, 5, 5, 2)}, []int{2}},
		"only the next one counts":          {[]raftpb.Message{appended(1, 5, 5, 0), appended(1, 5, 4, 1), appended(1, 6, 5, 1)}, []int{0, 1, 2}},
		"entries are always sent":           {[]raftpb.Message{appended(1, 5, 5, 1), appended(1, 5, 5, 1)}, []int{0, 1}},
		"a commit index behind the entries": {[]raftpb.Message{appended(1, 5, 5, 1), appended(1, 6, 6, 0)}, []int{0, 1}},
		"another place":                     {[]raftpb.Message{appended(1, 5, 5, 0), appended(1, 6, 5, 1)}, []int{0, 1}},
		"another term there":                {[]raftpb.Message{appended(1, 5, 5, 0), with(appended(1, 5, 5, 1), func(m *raftpb.Message) { m.LogTerm = 3 })}, []int{0, 1}},
		"a lower commit index":              {[]raftpb.Message{appended(1, 5, 5, 0), appended(1, 5, 4, 1)}, []int{0, 1}},
		"other kinds are left alone": {[]raftpb.Message{
			{Type: raftpb.MsgHeartbeat, To: 1, Term: 3}, {Type: raftpb.MsgHeartbeat, To: 1, Term: 3}, appended(1, 5, 5, 0), ack(1, 5),
		}, []int{0, 1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			dropIncluded(c.messages)
			var sent []int
			for i, m := range c.messages {
				if m.To != 0 {
					sent = append(sent, i)
				}
			}
			if !slices.Equal(sent, c.sent) {
				t.Errorf("sent are %d, want %d", sent, c.sent)
			}
		})
	}
}
