package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v3"
)

// YAML writes the configuration as a file, with where each setting comes from
// behind it. Secrets are left out.
func (l *Loaded) YAML() ([]byte, error) {
	n, err := l.node()
	if err != nil {
		return nil, err
	}
	l.comment(n, "")
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(n); err != nil {
		return nil, fmt.Errorf("config: write: %w", err)
	}
	return out.Bytes(), nil
}

// JSON writes an object with the configuration, of the same form as the file,
// and where each setting that is not the default comes from.
func (l *Loaded) JSON() ([]byte, error) {
	n, err := l.node()
	if err != nil {
		return nil, err
	}
	var settings any
	if err := n.Decode(&settings); err != nil {
		return nil, fmt.Errorf("config: write: %w", err)
	}
	out, err := json.MarshalIndent(map[string]any{"config": settings, "origins": l.Origins}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("config: write: %w", err)
	}
	return append(out, '\n'), nil
}

func (l *Loaded) node() (*yaml.Node, error) {
	n := &yaml.Node{}
	if err := n.Encode(&l.Config); err != nil {
		return nil, fmt.Errorf("config: write: %w", err)
	}
	redact(n)
	return n, nil
}

// redact takes passwords out of URLs.
func redact(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "://") && strings.Contains(n.Value, "@") {
		u, err := url.Parse(n.Value)
		if err != nil || u.User != nil {
			n.Value = "(hidden)"
		}
		if err == nil && u.User != nil {
			n.Value = u.Redacted()
		}
	}
	for _, inner := range n.Content {
		redact(inner)
	}
}

// comment writes behind each setting where it comes from; behind a list that
// takes several lines, behind its key.
func (l *Loaded) comment(n *yaml.Node, prefix string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		setting := prefix + key.Value
		if value.Kind == yaml.MappingNode {
			l.comment(value, setting+".")
			continue
		}
		origin := l.Origins[setting]
		if origin == "" {
			origin = "default"
		}
		if value.Kind == yaml.SequenceNode && len(value.Content) > 0 {
			key.LineComment = origin
			continue
		}
		value.LineComment = origin
	}
}
