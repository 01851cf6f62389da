package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// readConfigFile sets the flags that neither the command line nor the
// environment has set from a file in etcd's format: YAML or JSON whose keys are
// the flags' names, with the blocks client-transport-security and
// peer-transport-security. A key that is not known is an error that names it.
func readConfigFile(path string, flags *pflag.FlagSet) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--config-file: %w", err)
	}
	if data, err = yaml.YAMLToJSONStrict(data); err != nil {
		return fmt.Errorf("--config-file %s: %w", path, err)
	}
	settings := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&settings); err != nil {
		return fmt.Errorf("--config-file %s: it must be a list of settings, as name: default: %w", path, err)
	}
	if err := setAll(settings, func(key string) string { return key }, flags, ""); err != nil {
		return fmt.Errorf("--config-file %s: %w", path, err)
	}
	return nil
}

// blocks are the keys that hold further ones, and the flags that those name.
func blocks() map[string]func(key string) string {
	return map[string]func(string) string{
		"client-transport-security": func(key string) string { return securityFlag("", "client-", key) },
		"peer-transport-security":   func(key string) string { return securityFlag("peer-", "peer-", key) },
		"socket-options":            func(key string) string { return "socket-" + key },
		"discovery-config":          func(key string) string { return "discovery-" + key },
	}
}

// securityFlag is the flag of a key in a block of TLS settings.
func securityFlag(prefix, side, key string) string {
	switch key {
	case "allowed-cn", "allowed-hostname":
		return side + "cert-" + key
	case "crl-file":
		return side + key
	case "skip-client-san-verification":
		return side + key
	default:
		return prefix + key
	}
}

func setAll(settings map[string]any, flagOf func(key string) string, flags *pflag.FlagSet, block string) error {
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		value := settings[key]
		if inner, ok := value.(map[string]any); ok && block == "" && blocks()[key] != nil {
			if err := setAll(inner, blocks()[key], flags, key+"."); err != nil {
				return err
			}
			continue
		}
		f := flags.Lookup(flagOf(key))
		if f == nil || slices.Contains([]string{"config-file", "help", "version"}, f.Name) {
			return fmt.Errorf("%s%s: there is no such setting", block, key)
		}
		if f.Changed || value == nil {
			continue
		}
		text, err := textOf(value, f.Value.Type() == "duration")
		if err == nil {
			err = flags.Set(f.Name, text)
		}
		if invalid := (*pflag.InvalidValueError)(nil); errors.As(err, &invalid) {
			err = invalid.Unwrap() // which does not speak of the command line
		}
		if err != nil {
			return fmt.Errorf("%s%s: %w", block, key, err)
		}
	}
	return nil
}

// textOf writes a value of the file as the command line has it. A duration
// given as a number is in nanoseconds, as in etcd's files.
func textOf(value any, isDuration bool) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return fmt.Sprint(v), nil
	case json.Number:
		if n, err := v.Int64(); err == nil && isDuration {
			return time.Duration(n).String(), nil
		}
		return v.String(), nil
	case []any:
		words := make([]string, len(v))
		for i, one := range v {
			word, err := textOf(one, false)
			if err != nil {
				return "", err
			}
			words[i] = word
		}
		return strings.Join(words, ","), nil
	default:
		return "", errors.New("a block of settings is not expected here")
	}
}
