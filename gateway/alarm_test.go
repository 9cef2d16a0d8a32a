package gateway

import (
	"errors"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A node that is over its quota raises its alarm at the leader; an operator at any node clears it.
func TestQuotaRaisesTheAlarm(t *testing.T) {
	s := newSite(t, 2, func(c *Config) {
		if c.MemberID == 2 {
			c.QuotaBytes = 4095 // the fake database has 4096
		}
	})
	c, ctx := s.client(1), testContext(t)
	var list *clientv3.AlarmResponse
	eventually(t, "the alarm", func() bool {
		var err error
		list, err = c.AlarmList(ctx)
		return err == nil && len(list.Alarms) == 1
	})
	if a := list.Alarms[0]; a.MemberID != 2 || a.Alarm != pb.AlarmType_NOSPACE {
		t.Errorf("alarm %v", a)
	}
	st, err := c.Status(ctx, s.nodes[1].addr)
	if err != nil || st.DbSizeQuota != 4095 || len(st.Errors) != 1 || !strings.Contains(st.Errors[0], "NOSPACE") {
		t.Errorf("status %v, %v", st, err)
	}
	resp, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{})
	if err != nil || len(resp.Alarms) != 1 {
		t.Errorf("disarm: %v, %v", resp, err)
	}
}

func TestDowngrade(t *testing.T) {
	s := newSite(t, 1, nil)
	c, ctx := s.client(0), testContext(t)
	for version, want := range map[string]error{
		"3.6": rpctypes.ErrInvalidDowngradeTargetVersion, "3.6.0": rpctypes.ErrInvalidDowngradeTargetVersion,
		"x": rpctypes.ErrWrongDowngradeVersionFormat, "": rpctypes.ErrWrongDowngradeVersionFormat,
	} {
		for _, action := range []clientv3.DowngradeAction{clientv3.DowngradeValidate, clientv3.DowngradeEnable} {
			if _, err := c.Downgrade(ctx, action, version); !errors.Is(err, want) {
				t.Errorf("%v to %q: %v, want %v", action, version, err, want)
			}
		}
	}
	if _, err := c.Downgrade(ctx, clientv3.DowngradeCancel, ""); !errors.Is(err, rpctypes.ErrNoInflightDowngrade) {
		t.Errorf("cancel: %v", err)
	}
}
