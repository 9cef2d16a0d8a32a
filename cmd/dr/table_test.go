package dr

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"geogate/gateway/admin"
	"geogate/replication"
	"geogate/replication/homes"
	"geogate/replication/registrar"
)

func TestStatusTellsOfTheHoldOff(t *testing.T) {
	until := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, peers := range [][]replication.HomePeer{nil, {{DC: "b", Health: "healthy"}}, {{DC: "b"}, {DC: "c"}, {DC: "d"}}} {
		r := &admin.HomesReport{DC: "a", Keyspaces: []replication.HomeStatus{{
			Status: registrar.Status{Keyspace: locks, Home: "b", Epoch: 2, Why: "home is b in epoch 2", Automatic: true, HoldOffUntil: &until},
			Peers:  peers,
		}}}
		rows := StatusRows(r)
		text := fmt.Sprint(rows)
		if !strings.Contains(text, "home is b in epoch 2") || !strings.Contains(text, "a starts no automatic failover until 2026-01-02 03:04:05") {
			t.Errorf("%d peers: %s", len(peers), text)
		}
		for i, row := range rows {
			if len(row) != len(rows[0]) {
				t.Errorf("%d peers: row %d has %d cells, the head %d", len(peers), i, len(row), len(rows[0]))
			}
		}
	}
}

func TestStatusTellsOfAMissingVote(t *testing.T) {
	text := fmt.Sprint(StatusRows(&admin.HomesReport{DC: "c", Keyspaces: []replication.HomeStatus{{
		Status: registrar.Status{Keyspace: locks, Home: "a", Epoch: 2, Why: "home is a in epoch 2", Barred: true, BarredWhy: "no answer of b"},
	}}}))
	if !strings.Contains(text, "home is a in epoch 2") || !strings.Contains(text, "c is new here or lost its data: no vote") || !strings.Contains(text, "no answer of b") {
		t.Error(text)
	}
}

func TestQuarantineRows(t *testing.T) {
	rows := QuarantineRows(&admin.QuarantineSummary{Datacenters: []replication.AsideAt{
		{DC: "a", Keyspaces: []replication.AsideKeyspace{{Aside: homes.Aside{Keyspace: locks, Writes: 3, Leased: 1, Bytes: 100}, Age: 7384}}},
		{DC: "b", Keyspaces: []replication.AsideKeyspace{}}, {DC: "c", Error: "not reached"},
	}})
	var lines []string
	for _, row := range rows[1:] {
		lines = append(lines, strings.Join(row, " "))
	}
	if got := strings.Join(lines, "; "); got != `a "/locks/" 3 1 100 2h3m4s old; b - 0 - - -; c ? ? ? ? not reached` {
		t.Errorf("got %s", got)
	}
}
