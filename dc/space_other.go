//go:build !linux

package dc

import "errors"

func diskFree(string) (int64, error) { return 0, errors.ErrUnsupported }
