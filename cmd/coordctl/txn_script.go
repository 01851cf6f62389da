package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// txnScript reads a transaction in etcdctl's notation.
type txnScript struct {
	in       *bufio.Reader
	lines    int // read so far
	compares []clientv3.Cmp
	success  []clientv3.Op
	failure  []clientv3.Op
}

// read reads the three blocks and names each of them on prompt first.
func (s *txnScript) read(prompt io.Writer) error {
	blocks := []struct {
		prompt string
		line   func(string) error
	}{
		{"compares:", s.addCompare},
		{"success requests (get, put, del):", func(line string) error { return addOp(&s.success, line) }},
		{"failure requests (get, put, del):", func(line string) error { return addOp(&s.failure, line) }},
	}
	for _, b := range blocks {
		fmt.Fprintln(prompt, b.prompt)
		if err := s.readBlock(b.line); err != nil {
			// Arguments of an operation that are wrong by themselves keep the code they have on the command line.
			if _, coded := errors.AsType[*exitCodeError](err); coded {
				return err
			}
			return withCode(exitInvalidInput, err)
		}
	}
	return nil
}

// readBlock hands each line to add until an empty one. A script that just stops is refused: it may be a truncated one.
func (s *txnScript) readBlock(add func(line string) error) error {
	for {
		line, err := s.in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("EOF: the transaction ends after line %d; each of its three blocks ends with an empty line", s.lines)
		} else if err != nil {
			return fmt.Errorf("read the transaction: %w", err)
		}
		s.lines++
		line = strings.TrimSpace(line)
		if line == "" {
			return nil
		}
		if err := add(line); err != nil {
			return fmt.Errorf("line %d: %w", s.lines, err)
		}
	}
}

func (s *txnScript) addCompare(line string) error {
	cmp, err := parseCompare(line)
	if err != nil {
		return fmt.Errorf("malformed comparison: %s: %w", line, err)
	}
	s.compares = append(s.compares, cmp)
	return nil
}

func addOp(ops *[]clientv3.Op, line string) error {
	op, err := parseOp(line)
	if err != nil {
		return fmt.Errorf("invalid txn request: %s: %w", line, err)
	}
	*ops = append(*ops, op)
	return nil
}

// parseCompare parses target("key") operator "value".
func parseCompare(line string) (clientv3.Cmp, error) {
	target, rest, ok := strings.Cut(line, "(")
	if !ok {
		return clientv3.Cmp{}, errors.New(`it has the form mod("key") > "0"`)
	}
	key, rest, err := cutQuoted(rest)
	if err != nil {
		return clientv3.Cmp{}, fmt.Errorf("key: %w", err)
	}
	rest, ok = strings.CutPrefix(strings.TrimSpace(rest), ")")
	if !ok {
		return clientv3.Cmp{}, errors.New("the key is followed by )")
	}
	rest = strings.TrimSpace(rest)
	operator := rest[:len(rest)-len(strings.TrimLeft(rest, "=!<>"))]
	switch operator {
	case "=", "!=", "<", ">":
	default:
		return clientv3.Cmp{}, errors.New("the operator is =, !=, < or >")
	}
	value, rest, err := cutQuoted(rest[len(operator):])
	if err != nil {
		return clientv3.Cmp{}, fmt.Errorf("value: %w", err)
	}
	if rest = strings.TrimSpace(rest); rest != "" {
		return clientv3.Cmp{}, fmt.Errorf("%q is left over", rest)
	}
	return compare(strings.TrimSpace(target), key, operator, value)
}

func compare(target, key, operator, value string) (clientv3.Cmp, error) {
	if target == "val" || target == "value" {
		return clientv3.Compare(clientv3.Value(key), operator, value), nil
	}
	var cmp clientv3.Cmp
	base := 10
	switch target {
	case "ver", "version":
		cmp = clientv3.Version(key)
	case "c", "create":
		cmp = clientv3.CreateRevision(key)
	case "m", "mod":
		cmp = clientv3.ModRevision(key)
	case "lease":
		cmp, base = clientv3.LeaseValue(key), 16
	default:
		return clientv3.Cmp{}, fmt.Errorf("unknown target %q; it is create, mod, ver, val or lease", target)
	}
	number, err := strconv.ParseInt(value, base, 64)
	if err != nil {
		return clientv3.Cmp{}, fmt.Errorf("%q is not a number in base %d", value, base)
	}
	return clientv3.Compare(cmp, operator, number), nil
}

// parseOp parses one get, put or del.
func parseOp(line string) (clientv3.Op, error) {
	words, err := splitWords(line)
	if err != nil {
		return clientv3.Op{}, err
	}
	var get getFlags
	var put putFlags
	var del delFlags
	fs := pflag.NewFlagSet(words[0], pflag.ContinueOnError)
	fs.Usage = func() {} // the error says enough, and --help has no place here
	var op func() (clientv3.Op, error)
	switch words[0] {
	case "get":
		get.bind(fs)
		op = func() (clientv3.Op, error) { return get.op(fs.Args()) }
	case "put":
		put.bind(fs)
		op = func() (clientv3.Op, error) { return put.op(fs.Args(), nil) }
	case "del":
		del.bind(fs)
		op = func() (clientv3.Op, error) { return del.op(fs.Args()) }
	default:
		return clientv3.Op{}, fmt.Errorf("unknown operation %q; it is get, put or del", words[0])
	}
	if err := fs.Parse(words[1:]); err != nil {
		return clientv3.Op{}, err
	}
	return op()
}

// splitWords splits a line that is not empty at white space, except within quotes.
func splitWords(line string) (words []string, err error) {
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimSpace(rest) {
		var word string
		switch rest[0] {
		case '"', '\'':
			if word, rest, err = cutQuoted(rest); err != nil {
				return nil, err
			}
			if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
				return nil, fmt.Errorf("no space after the quoted word %q", word)
			}
		default:
			end := strings.IndexAny(rest, " \t")
			if end < 0 {
				end = len(rest)
			}
			word, rest = rest[:end], rest[end:]
		}
		words = append(words, word)
	}
	return words, nil
}

// cutQuoted returns the text of the quoted word that s begins with, after white space, and what follows it.
func cutQuoted(s string) (word, rest string, err error) {
	s = strings.TrimSpace(s)
	switch {
	case strings.HasPrefix(s, `'`):
		word, rest, ok := strings.Cut(s[1:], `'`)
		if !ok {
			return "", "", fmt.Errorf("no closing quote in %s", s)
		}
		return word, rest, nil
	case strings.HasPrefix(s, `"`):
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", "", fmt.Errorf("no closing quote, or a bad escape, in %s", s)
		}
		word, err := strconv.Unquote(quoted)
		return word, s[len(quoted):], err
	}
	return "", "", fmt.Errorf("it stands in quotes, unlike %q", s)
}
