package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// variable is a setting in the way of a shell's environment.
type variable struct {
	name, value string
	origin      string // "environment variable X" or "X in /etc/…:3"
}

// updateConfs are CoreOS's and Flatcar's files, the weakest first: the order in
// which their locksmithd.service gives them to the agent.
func updateConfs() []string {
	return []string{
		"/usr/share/coreos/update.conf", "/usr/share/flatcar/update.conf",
		"/etc/coreos/update.conf", "/etc/flatcar/update.conf",
	}
}

// updateVariables reads what those files say.
func updateVariables(root string) ([]variable, error) {
	var all []variable
	for _, path := range updateConfs() {
		path = filepath.Join(root, path)
		data, err := readBounded(path, maxFileBytes)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		variables, err := parseVariables(path, string(data))
		if err != nil {
			return nil, err
		}
		all = append(all, variables...)
	}
	return all, nil
}

// parseVariables reads NAME=value lines as systemd's EnvironmentFile= does (man
// systemd.exec): lines that begin with # or ; are comments and others without = are left
// out, quotes may hold line breaks, a backslash at the end of a line joins the next.
func parseVariables(path, text string) ([]variable, error) {
	var all []variable
	line := 1
	for text != "" {
		text = strings.TrimLeftFunc(text, func(r rune) bool {
			if r == '\n' {
				line++
			}
			return r == '\n' || r == '\r' || r == ' ' || r == '\t'
		})
		if text == "" {
			break
		}
		first, _, _ := strings.Cut(text, "\n")
		name, _, assigns := strings.Cut(first, "=")
		if text[0] == '#' || text[0] == ';' || !assigns {
			text = text[len(first):]
			continue
		}
		text = text[len(name)+1:]
		name = strings.TrimSpace(name)
		value, length, err := parseValue(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", path, line, name, err)
		}
		all = append(all, variable{name, value, fmt.Sprintf("%s in %s:%d", name, path, line)})
		line += strings.Count(text[:length], "\n")
		text = text[length:]
	}
	return all, nil
}

// parseValue reads a value from the start of text and says how much of it that was.
func parseValue(text string) (value string, length int, err error) {
	var b strings.Builder
	var quote byte
	keep := 0 // what white space at the end leaves
	i := 0
scan:
	for ; i < len(text); i++ {
		c := text[i]
		switch {
		case quote == 0 && (c == '\n' || c == '\r'):
			break scan
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote, keep = 0, b.Len()
		case c == '\\' && quote != '\'' && i+1 < len(text):
			i++
			if quote == '"' && !strings.ContainsRune("\"\\`$\n", rune(text[i])) {
				b.WriteByte('\\')
			}
			if text[i] != '\n' {
				b.WriteByte(text[i])
				keep = b.Len()
			}
		case quote == 0 && (c == ' ' || c == '\t'):
			if b.Len() > 0 {
				b.WriteByte(c)
			}
		default:
			b.WriteByte(c)
			keep = b.Len()
		}
	}
	if quote != 0 {
		return "", 0, fmt.Errorf("the quote %c is not closed", quote)
	}
	return b.String()[:keep], i, nil
}
