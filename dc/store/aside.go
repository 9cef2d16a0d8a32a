package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// SetAside gives the file of a store that is not open another name, and returns that; "" when there is no file.
// One such file is kept: it is evidence, and may be removed.
func SetAside(cfg Config) (path string, err error) {
	path = cfg.Path + ".damaged"
	if err := os.Rename(cfg.Path, path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	return path, syncDir(filepath.Dir(cfg.Path))
}
