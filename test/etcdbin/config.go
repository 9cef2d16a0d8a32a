package etcdbin

import "fmt"

// Config describes an etcd cluster. Fields without a stated default are required.
type Config struct {
	Path    string   // of the etcd server, see [Etcd]
	Dir     string   // for the members' data and logs; must exist
	Members int      // 1 or 3; 0 means 1
	Args    []string // of every member, after those that make the cluster; etcd's defaults hold otherwise
}

func (c *Config) validate() error {
	if c.Members == 0 {
		c.Members = 1
	}
	switch {
	case c.Path == "":
		return fmt.Errorf("%w: no path of the etcd server", ErrConfig)
	case c.Dir == "":
		return fmt.Errorf("%w: no folder for its data", ErrConfig)
	case c.Members != 1 && c.Members != 3:
		return fmt.Errorf("%w: %d members, want 1 or 3", ErrConfig, c.Members)
	}
	return nil
}
