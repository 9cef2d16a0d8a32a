package auth

import (
	"encoding/binary"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"

	"geogate/replication/event"
)

// Prefix begins the names of all entries of this package in the system table.
const Prefix = "auth/"

// Names of entries; README.md has the table.
const (
	nameEnabled      = Prefix + "enabled"
	prefixUser       = Prefix + "user/"
	prefixPassword   = Prefix + "password/"
	prefixGrant      = Prefix + "grant/"
	prefixRole       = Prefix + "role/"
	prefixPermission = Prefix + "permission/"
)

// MaxNameBytes bounds the name of a user or role. It is the longest key that etcd's database, bbolt, takes.
const MaxNameBytes = 32 << 10

// Entry is a live entry of the system table.
type Entry struct {
	Name   string
	Value  []byte
	Stamp  event.Stamp
	Origin string // datacenter that wrote it; stamp and origin together order all writes
}

// birth is when an entry was written.
type birth struct {
	stamp  event.Stamp
	origin string
}

func (e *Entry) birth() birth { return birth{e.Stamp, e.Origin} }

// before says whether b was written before the other; entries of one transaction have the same birth.
func (b birth) before(other birth) bool {
	return event.Later(other.stamp, other.origin, b.stamp, b.origin)
}

func userName(user string) string     { return prefixUser + user }
func passwordName(user string) string { return prefixPassword + user }
func roleName(role string) string     { return prefixRole + role }

// Names of two parts begin with the length of the first, because names and keys may hold any byte.
func grantsOf(user string) string        { return prefixGrant + measured(user) }
func grantName(user, role string) string { return grantsOf(user) + role }
func permissionsOf(role string) string   { return prefixPermission + measured(role) }

func permissionName(role string, key, end []byte) string {
	return permissionsOf(role) + measured(string(key)) + string(end)
}

func measured(s string) string {
	return string(binary.AppendUvarint(nil, uint64(len(s)))) + s
}

// cut splits what measured joined. What it would join in another way is no name: nothing that removes the entry
// of a grant or permission would find it.
func cut(s string) (first, rest string, err error) {
	n, size := binary.Uvarint([]byte(s[:min(len(s), binary.MaxVarintLen64)]))
	if size <= 0 || n > uint64(len(s)-size) || len(binary.AppendUvarint(nil, n)) != size {
		return "", "", fmt.Errorf("%w: name %.200q", ErrMalformed, s)
	}
	return s[size : size+int(n)], s[size+int(n):], nil
}

// The only option of a user, and the type of a permission, are one byte.
const noPassword = 1

func permissionValue(t authpb.Permission_Type) []byte { return []byte{byte(t)} }

func parsePermission(name string, value []byte) (role string, p *authpb.Permission, err error) {
	role, rest, err := cut(strings.TrimPrefix(name, prefixPermission))
	if err != nil {
		return "", nil, err
	}
	key, end, err := cut(rest)
	if err != nil {
		return "", nil, err
	}
	if len(value) != 1 || value[0] > byte(authpb.Permission_READWRITE) || !validRange([]byte(key), []byte(end)) {
		return "", nil, fmt.Errorf("%w: permission %.200q of type %.8x", ErrMalformed, name, value)
	}
	p = &authpb.Permission{PermType: authpb.Permission_Type(value[0]), Key: []byte(key)}
	if end != "" {
		p.RangeEnd = []byte(end)
	}
	return role, p, nil
}
