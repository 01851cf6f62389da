package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// decoder puts settings into a configuration and keeps where each is written.
type decoder struct {
	config *Config
	places map[string]string // by setting, and by element and key within lists
	errs   []error
}

// source is one file, or one variable or flag.
type source struct {
	name  string
	lines bool // its lines are told
}

func (s source) place(n *yaml.Node) string {
	if s.lines {
		return s.name + ":" + strconv.Itoa(n.Line)
	}
	return s.name
}

func (d *decoder) fail(s source, n *yaml.Node, setting, format string, args ...any) {
	if setting != "" {
		setting += ": "
	}
	d.errs = append(d.errs, fmt.Errorf("%s: %s%w", s.place(n), setting, fmt.Errorf(format, args...)))
}

// file puts in the settings of a YAML document.
func (d *decoder) file(name string, data []byte) {
	s := source{name: name, lines: true}
	top, err := parseYAML(data)
	if err != nil {
		d.errs = append(d.errs, fmt.Errorf("%s: %w", name, err))
		return
	}
	if top == nil {
		return
	}
	if top.Kind != yaml.MappingNode {
		d.fail(s, top, "", "it must be a list of settings, as poll: 5s")
		return
	}
	d.value(s, "", top, reflect.ValueOf(d.config).Elem())
}

// parseYAML reads one document; nil if there is nothing in it. Aliases are
// refused: a few of them make gigabytes out of a line.
func parseYAML(data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("only one YAML document is allowed")
	}
	top := document.Content[0]
	if top.Kind == yaml.ScalarNode && top.ShortTag() == "!!null" {
		return nil, nil
	}
	return top, plain(top)
}

func plain(n *yaml.Node) error {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return fmt.Errorf("line %d: anchors and aliases are not allowed", n.Line)
	case n.Style&yaml.TaggedStyle != 0:
		return fmt.Errorf("line %d: the tag %s is not allowed", n.Line, n.Tag)
	}
	for _, inner := range n.Content {
		if err := plain(inner); err != nil {
			return err
		}
	}
	return nil
}

// value puts n into v, which is the setting.
func (d *decoder) value(s source, setting string, n *yaml.Node, v reflect.Value) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		// A block all of whose settings are commented out says nothing. A list without value might be meant to be empty.
		if !isBlock(v.Type()) {
			d.fail(s, n, setting, "it has no value; none is [] for a list and \"\" for a text")
		}
		return
	}
	switch {
	case readsItself(v.Type()):
		if err := n.Decode(v.Addr().Interface()); err != nil {
			d.fail(s, n, setting, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
			return
		}
		d.places[setting] = s.place(n)
	case v.Kind() == reflect.Struct:
		d.block(s, setting, n, v)
	case v.Kind() == reflect.Slice:
		d.list(s, setting, n, v)
	case n.Kind != yaml.ScalarNode:
		d.fail(s, n, setting, "%s is expected, not a list or a block", kindOf(v.Type()))
	default:
		if err := setScalar(v, n.Value); err != nil {
			d.fail(s, n, setting, "%w", err)
			return
		}
		d.places[setting] = s.place(n)
	}
}

func (d *decoder) block(s source, setting string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.fail(s, n, setting, "a block of settings is expected")
		return
	}
	fields, seen := fieldsOf(v.Type()), map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, inner := n.Content[i], ""
		if inner = key.Value; setting != "" {
			inner = setting + "." + key.Value
		}
		if line, twice := seen[key.Value]; twice {
			d.fail(s, key, inner, "it is given twice, in line %d before", line)
			continue
		}
		seen[key.Value] = key.Line
		found := false
		for _, f := range fields {
			if f.name == key.Value && key.Kind == yaml.ScalarNode {
				d.value(s, inner, n.Content[i+1], v.FieldByIndex(f.index))
				if d.places[inner] != "" {
					d.places[inner] = s.place(key) // a list begins below it
				}
				found = true
			}
		}
		if !found {
			d.fail(s, key, inner, "there is no such setting; here are %s", names(fields))
		}
	}
}

func names(fields []field) string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i] = f.name
	}
	return strings.Join(all, ", ")
}

// list replaces what was there.
func (d *decoder) list(s source, setting string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.fail(s, n, setting, "a list is expected, as [one, two]")
		return
	}
	maps.DeleteFunc(d.places, func(place, _ string) bool { return strings.HasPrefix(place, setting+"[") })
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, element := range n.Content {
		inner := fmt.Sprintf("%s[%d]", setting, i)
		if element.Kind == yaml.ScalarNode && element.ShortTag() == "!!null" {
			d.fail(s, element, inner, "it has no value")
			continue
		}
		d.places[inner] = s.place(element)
		d.value(s, inner, element, list.Index(i))
	}
	v.Set(list)
	d.places[setting] = s.place(n)
}

// setScalar reads a text as what v is.
func setScalar(v reflect.Value, text string) error {
	wrong := fmt.Errorf("%q is not %s", text, kindOf(v.Type()))
	if v.Type() == reflect.TypeFor[Secret]() {
		v.SetString(text)
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		switch strings.ToLower(text) {
		case "true", "yes", "on":
			v.SetBool(true)
		case "false", "no", "off":
			v.SetBool(false)
		default:
			return wrong
		}
	case reflect.Int, reflect.Int64:
		if v.Type() == reflect.TypeFor[time.Duration]() {
			length, err := time.ParseDuration(text)
			if err != nil {
				return wrong
			}
			v.SetInt(int64(length))
			return nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v.OverflowInt(n) {
			return wrong
		}
		v.SetInt(n)
	default:
		panic(fmt.Sprintf("config: a setting of type %v", v.Type()))
	}
	return nil
}

// kindOf says what a value of type t looks like.
func kindOf(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a duration, as 30s or 1h30m"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String:
		return "a text"
	default:
		return "a whole number"
	}
}
