package auth

import "errors"

// What a request can be refused for. The text is for logs; the wire text is
// the business of whoever speaks a wire protocol.
var (
	ErrDenied               = errors.New("auth: permission denied")
	ErrInvalidManagement    = errors.New("auth: invalid auth management")
	ErrInvalidToken         = errors.New("auth: invalid token")
	ErrNameTooLong          = errors.New("auth: name is too long")
	ErrNoPasswordUser       = errors.New("auth: the user has no password")
	ErrNoRootRole           = errors.New("auth: user root does not have role root")
	ErrNoRootUser           = errors.New("auth: there is no user root")
	ErrNotEnabled           = errors.New("auth: authentication is not enabled")
	ErrOldRevision          = errors.New("auth: revision is old")
	ErrPermissionNotGiven   = errors.New("auth: permission is not given")
	ErrPermissionNotGranted = errors.New("auth: permission is not granted to the role")
	ErrRoleEmpty            = errors.New("auth: role name is empty")
	ErrRoleExists           = errors.New("auth: role exists")
	ErrRoleNotFound         = errors.New("auth: role not found")
	ErrRoleNotGranted       = errors.New("auth: role is not granted to the user")
	ErrUserEmpty            = errors.New("auth: no user is named")
	ErrUserExists           = errors.New("auth: user exists")
	ErrUserNotFound         = errors.New("auth: user not found")
	ErrWrongPassword        = errors.New("auth: wrong user or password")
)
