package member

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ErrURL says that a string is not an URL that members or clients can listen on or be reached at.
var ErrURL = errors.New("member: invalid URL")

// ParseURL reads one listen or advertise URL: http://host:port or
// https://host:port, or unix://path and, with TLS, unixs://path for a socket; no
// path with the first two, and no query or user. The host may be empty, which a listener takes as every address. [ErrURL].
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil {
		return nil, fmt.Errorf("%w %q: write it as http://host:port", ErrURL, s)
	}
	switch u.Scheme {
	case "unix", "unixs":
		if u.Host+u.Path == "" {
			return nil, fmt.Errorf("%w %q: no socket path; write it as unix:///path/of/socket", ErrURL, s)
		}
	case "http", "https":
		if err := checkHostPort(u); err != nil {
			return nil, fmt.Errorf("%w %q: %w", ErrURL, s, err)
		}
	default:
		return nil, fmt.Errorf("%w %q: the scheme must be http, https, unix or unixs, as in http://host:port", ErrURL, s)
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("%w %q: leave out user, query and fragment", ErrURL, s)
	}
	return u, nil
}

// ParseURLs reads a comma-separated list of at least one URL, as the flags take it.
func ParseURLs(list string) ([]string, error) {
	var urls []string
	for s := range strings.SplitSeq(list, ",") {
		u, err := ParseURL(s)
		if err != nil {
			return nil, err
		}
		urls = append(urls, u.String())
	}
	return urls, nil
}

func checkHostPort(u *url.URL) error {
	_, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return errors.New("it does not have the form host:port; add a port, as in :2380")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	if u.Path != "" {
		return fmt.Errorf("it must not contain a path; leave out %q", u.Path)
	}
	return nil
}

// checkReachable refuses URLs that other members cannot dial.
func checkReachable(u *url.URL) error {
	if u.Scheme == "unix" || u.Scheme == "unixs" {
		return nil
	}
	if u.Hostname() == "" {
		return fmt.Errorf("%w %q: it has no host; give the address at which the other members reach this one", ErrURL, u)
	}
	if u.Port() == "0" {
		return fmt.Errorf("%w %q: port 0 cannot be reached; give the port that the member listens on", ErrURL, u)
	}
	return nil
}

// Normalize sorts URLs at which a member is reached, with hosts in lower case, each once. [ErrURL].
func Normalize(urls []string) ([]string, error) {
	out := make([]string, 0, len(urls))
	for _, s := range urls {
		u, err := ParseURL(s)
		if err != nil {
			return nil, err
		}
		if err := checkReachable(u); err != nil {
			return nil, err
		}
		if u.Scheme != "unix" && u.Scheme != "unixs" {
			u.Host = strings.ToLower(u.Host)
		}
		out = append(out, u.String())
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
