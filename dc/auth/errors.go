package auth

import "errors"

// Answers to requests that change or read users and roles; the texts are etcd's.
var (
	ErrRootUserNotExist     = errors.New("auth: root user does not exist")
	ErrRootRoleNotExist     = errors.New("auth: root user does not have root role")
	ErrUserAlreadyExist     = errors.New("auth: user already exists")
	ErrUserEmpty            = errors.New("auth: user name is empty")
	ErrUserNotFound         = errors.New("auth: user not found")
	ErrRoleAlreadyExist     = errors.New("auth: role already exists")
	ErrRoleNotFound         = errors.New("auth: role not found")
	ErrRoleEmpty            = errors.New("auth: role name is empty")
	ErrPermissionNotGiven   = errors.New("auth: permission not given")
	ErrAuthFailed           = errors.New("auth: authentication failed, invalid user ID or password")
	ErrNoPasswordUser       = errors.New("auth: authentication failed, password was given for no password user")
	ErrRoleNotGranted       = errors.New("auth: role is not granted to the user")
	ErrPermissionNotGranted = errors.New("auth: permission is not granted to the role")
	ErrNotEnabled           = errors.New("auth: authentication is not enabled")
	ErrInvalidMgmt          = errors.New("auth: invalid auth management")
)

// Answers to requests of a user.
var (
	ErrPermissionDenied = errors.New("auth: permission denied")
	ErrInvalidToken     = errors.New("auth: invalid auth token")
	// ErrOldRevision answers a write that was permitted by users and roles that have changed before it was
	// applied. It was not applied; to ask again is safe.
	ErrOldRevision = errors.New("auth: revision in header is old")
)

// ErrFull refuses a change that would make the system table larger than it may be.
var ErrFull = errors.New("users, roles and settings take more room than they may")

// ErrLongName refuses a name that is longer than [MaxNameBytes].
var ErrLongName = errors.New("name of a user or role is too long")

// ErrMalformed marks a request or an entry that this build can't read.
var ErrMalformed = errors.New("malformed auth data")
