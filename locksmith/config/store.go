package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coordd/coordd/locksmith/slots"
)

// Store says where the slots are and how to be let in.
type Store struct {
	Endpoints    []string      `yaml:"endpoints"`     // http:// or https:// URLs, or host:port
	CAFile       string        `yaml:"ca_file"`       // PEM; empty: the system's authorities
	CertFile     string        `yaml:"cert_file"`     // PEM; needs KeyFile
	KeyFile      string        `yaml:"key_file"`      // PEM; needs CertFile
	Username     string        `yaml:"username"`      // empty: no user authentication
	Password     Secret        `yaml:"password"`      // better in PasswordFile
	PasswordFile string        `yaml:"password_file"` // its first line is the password
	Prefix       string        `yaml:"prefix"`        // of all keys
	Timeout      time.Duration `yaml:"timeout"`       // of one request; 100ms to 10m
}

// Defaults are a store on this machine.
func (s *Store) Defaults() {
	*s = Store{Endpoints: []string{"http://127.0.0.1:2379"}, Prefix: slots.DefaultPrefix, Timeout: 5 * time.Second}
}

// Validate names what is wrong with s.
func (s *Store) Validate() error {
	var errs []error
	if len(s.Endpoints) == 0 {
		errs = append(errs, errors.New("store.endpoints: none is given"))
	}
	for i, e := range s.Endpoints {
		errs = append(errs, endpoint(fmt.Sprintf("store.endpoints[%d]", i), e))
	}
	for _, file := range [][2]string{
		{"store.ca_file", s.CAFile}, {"store.cert_file", s.CertFile}, {"store.key_file", s.KeyFile}, {"store.password_file", s.PasswordFile},
	} {
		if file[1] != "" {
			errs = append(errs, absolute(file[0], file[1]))
		}
	}
	switch {
	case s.CertFile != "" && s.KeyFile == "":
		errs = append(errs, errors.New("store.key_file: store.cert_file needs its key"))
	case s.CertFile == "" && s.KeyFile != "":
		errs = append(errs, errors.New("store.cert_file: store.key_file needs its certificate"))
	}
	switch {
	case s.Password != "" && s.PasswordFile != "":
		errs = append(errs, errors.New("store.password: store.password_file is given as well"))
	case s.Username == "" && s.Password != "":
		errs = append(errs, errors.New("store.password: it needs store.username"))
	case s.Username == "" && s.PasswordFile != "":
		errs = append(errs, errors.New("store.password_file: it needs store.username"))
	}
	if strings.HasPrefix(s.Prefix, "/") || strings.HasSuffix(s.Prefix, "/") {
		errs = append(errs, fmt.Errorf("store.prefix: %q must not begin or end with a slash", s.Prefix))
	}
	return errors.Join(append(errs,
		text("store.prefix", s.Prefix, 1),
		text("store.username", s.Username, 0),
		between("store.timeout", s.Timeout, 100*time.Millisecond, 10*time.Minute),
	)...)
}

// ClientConfig is s for [slots.NewClient]. It reads the password.
func (s *Store) ClientConfig() (slots.ClientConfig, error) {
	c := slots.ClientConfig{
		Endpoints: s.Endpoints, CAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile,
		Username: s.Username, Password: string(s.Password), Timeout: s.Timeout,
	}
	if s.PasswordFile == "" {
		return c, nil
	}
	b, err := readBounded(s.PasswordFile, 4096)
	if err != nil {
		return slots.ClientConfig{}, fmt.Errorf("store.password_file: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if c.Password = strings.TrimSuffix(line, "\r"); c.Password == "" {
		return slots.ClientConfig{}, fmt.Errorf("store.password_file: the first line of %s is empty", s.PasswordFile)
	}
	return c, nil
}

// endpoint refuses what the client would fail on later, and passwords, which would be logged.
func endpoint(setting, value string) error {
	if !strings.Contains(value, "://") && !strings.Contains(value, "@") {
		return hostPort(setting, value)
	}
	u, err := url.Parse(value)
	if err != nil {
		return fmt.Errorf("%s: it is no URL", setting) // err would show a password
	}
	switch {
	case u.User != nil || strings.Contains(value, "@"):
		return fmt.Errorf("%s: a user belongs in store.username", setting)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%s: %q must begin with http:// or https://", setting, value)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%s: %q must end with the port", setting, value)
	}
	if u.Hostname() == "" {
		return fmt.Errorf("%s: %q names no host", setting, value)
	}
	return hostPort(setting, u.Host)
}

func hostPort(setting, value string) error {
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		return fmt.Errorf("%s: %q must be host:port", setting, value)
	}
	if strings.ContainsAny(host, "/@ ") {
		return fmt.Errorf("%s: %q is no host", setting, host)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%s: %q is no port", setting, port)
	}
	return nil
}
