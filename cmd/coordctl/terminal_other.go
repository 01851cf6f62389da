//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd

package main

import (
	"errors"
	"os"
)

func hideTyping(*os.File) (restore func(), err error) {
	return nil, errors.New("not possible on this system; give the password on standard input")
}
