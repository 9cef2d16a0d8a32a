package etcdbin

import (
	"debug/buildinfo"
	"fmt"
)

// Version is the module version that a program was built from, such as v3.7.3, read from the program.
func Version(path string) (string, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the version of %s: %w", path, err)
	}
	return info.Main.Version, nil
}
