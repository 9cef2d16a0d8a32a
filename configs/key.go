package configs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"
)

// LoadKey reads the datacenter's seed from KeyFile and checks that it belongs to PublicKey.
func (d *Datacenter) LoadKey() (nkeys.KeyPair, error) {
	if d.KeyFile == "" {
		return nil, fmt.Errorf("%w: datacenter %s has no key_file; make one with `geogate config keys`", ErrKey, d.Name)
	}
	seed, err := os.ReadFile(d.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("%w: read the seed of datacenter %s: %w", ErrKey, d.Name, err)
	}
	pair, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err != nil {
		return nil, fmt.Errorf("%w: %s holds no nkey seed: %w", ErrKey, d.KeyFile, err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKey, d.KeyFile, err)
	}
	if public != d.PublicKey {
		return nil, fmt.Errorf("%w: %s is the seed of %s, but the topology gives datacenter %s the public key %s",
			ErrKey, d.KeyFile, public, d.Name, d.PublicKey)
	}
	return pair, nil
}

// NewKey writes a fresh seed to path, readable by its owner only, and returns the public key. A file that
// is there already is never replaced: the seed in it may be in use.
func NewKey(path string) (public string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", err
	}
	seed, err := pair.Seed()
	if err != nil {
		return "", err
	}
	if public, err = pair.PublicKey(); err != nil {
		return "", err
	}
	if err = os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(append(seed, '\n'))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return public, err
}

// PublicKey is the public key of the seed in a file.
func PublicKey(path string) (string, error) {
	seed, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	pair, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err != nil {
		return "", fmt.Errorf("%w: %s holds no nkey seed: %w", ErrKey, path, err)
	}
	return pair.PublicKey()
}
