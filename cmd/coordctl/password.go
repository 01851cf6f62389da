package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

// askPassword prompts for a password on a terminal, where typing does not show it. Where standard input is something
// else, it is that input's next line.
func askPassword(cmd *cobra.Command, prompt string) (string, error) {
	in := cmd.InOrStdin()
	if file, ok := in.(*os.File); ok && isTerminal(file) {
		fmt.Fprint(cmd.ErrOrStderr(), prompt)
		defer fmt.Fprintln(cmd.ErrOrStderr())
		restore, err := hideTyping(file)
		if err != nil {
			return "", fmt.Errorf("turn off the terminal's echo: %w", err)
		}
		defer restore()
	}
	return readPassword(in)
}

// askNewPassword asks for a password of user until it is sure of it: twice.
func askNewPassword(cmd *cobra.Command, user string) (string, error) {
	password, err := askPassword(cmd, fmt.Sprintf("Password of %s: ", user))
	if err != nil {
		return "", badArguments("password of user %q: %w", user, err)
	}
	again, err := askPassword(cmd, fmt.Sprintf("Type password of %s again for confirmation: ", user))
	if err != nil {
		return "", badArguments("confirmation of the password of user %q: %w", user, err)
	}
	if again != password {
		return "", badArguments("the two passwords differ")
	}
	return password, nil
}

var errNoPassword = errors.New("it is empty")

// Control characters of a terminal that hands over every one of them.
const (
	endOfText   = 0x03 // Ctrl-C
	endOfInput  = 0x04 // Ctrl-D
	backspace   = 0x08
	killLine    = 0x15 // Ctrl-U
	deleteLast  = 0x7f
	maxPassword = 64 << 10
)

// readPassword reads one line, byte by byte: what follows is for the next to ask.
func readPassword(in io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < maxPassword; {
		_, err := io.ReadFull(in, b)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		switch {
		case err != nil, b[0] == '\n', b[0] == endOfInput:
			password := strings.TrimSuffix(string(line), "\r")
			if password == "" {
				return "", errNoPassword
			}
			return password, nil
		case b[0] == endOfText:
			return "", errors.New("interrupted")
		case b[0] == killLine:
			line = nil
		case b[0] == backspace || b[0] == deleteLast:
			line = line[:max(len(line)-1, 0)]
		default:
			line = append(line, b[0])
		}
	}
	return "", fmt.Errorf("it is longer than %d bytes", maxPassword)
}

func isTerminal(f *os.File) bool { return isatty.IsTerminal(f.Fd()) }
