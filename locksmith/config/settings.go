package config

import (
	"encoding"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Settings names all settings, in the order of the file. A list is one setting.
func Settings() []string { return settingsOf(reflect.TypeFor[Config](), "") }

func settingsOf(t reflect.Type, prefix string) []string {
	var all []string
	for _, f := range fieldsOf(t) {
		if isBlock(f.typ) {
			all = append(all, settingsOf(f.typ, prefix+f.name+".")...)
			continue
		}
		all = append(all, prefix+f.name)
	}
	return all
}

// field is one key of a block.
type field struct {
	name  string
	index []int
	typ   reflect.Type
}

// fieldsOf reads the yaml tags of a struct; those of an inlined one are its own.
func fieldsOf(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				all = append(all, inner)
			}
		case f.IsExported() && name != "-":
			if name == "" {
				name = strings.ToLower(f.Name) // as package yaml has it
			}
			all = append(all, field{name, []int{i}, f.Type})
		}
	}
	return all
}

// isBlock tells the structs whose keys are settings from those that read themselves.
func isBlock(t reflect.Type) bool { return t.Kind() == reflect.Struct && !readsItself(t) }

func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[yaml.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}
