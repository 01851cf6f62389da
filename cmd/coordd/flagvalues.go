package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// plain says what to give where pflag says what its parser of numbers could not do.
func plain(err error) error {
	invalid, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	parser, ok := errors.AsType[*strconv.NumError](err)
	switch {
	case !ok:
		return err
	case parser.Func == "ParseBool":
		return fmt.Errorf("--%s %q: give true or false", invalid.GetFlag().Name, invalid.GetValue())
	case parser.Func == "ParseUint":
		return fmt.Errorf("--%s %q: give a whole number from 0 on", invalid.GetFlag().Name, invalid.GetValue())
	}
	return fmt.Errorf("--%s %q: give a whole number", invalid.GetFlag().Name, invalid.GetValue())
}

// list is a flag of comma-separated words; giving it again replaces them.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }
func (l *list) Type() string   { return "list" }
func (l *list) Set(s string) error {
	*l = nil
	if s == "" {
		return nil
	}
	for one := range strings.SplitSeq(s, ",") {
		*l = append(*l, strings.TrimSpace(one))
	}
	return nil
}

// milliseconds is a duration given as etcd's flags do: a bare number.
type milliseconds time.Duration

func (m *milliseconds) String() string { return fmt.Sprint(time.Duration(*m).Milliseconds()) }
func (m *milliseconds) Type() string   { return "ms" }
func (m *milliseconds) Set(s string) error {
	d, err := time.ParseDuration(s + "ms")
	if err != nil {
		return fmt.Errorf("%q is not a number of milliseconds", s)
	}
	*m = milliseconds(d)
	return nil
}

// seconds is a duration given as a whole number.
type seconds time.Duration

func (v *seconds) String() string { return fmt.Sprint(int64(time.Duration(*v) / time.Second)) }
func (v *seconds) Type() string   { return "s" }
func (v *seconds) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is not a number of seconds", s)
	}
	*v = seconds(time.Duration(n) * time.Second)
	return nil
}
