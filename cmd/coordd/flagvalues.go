package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

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
