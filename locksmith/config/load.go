package config

import (
	"errors"
	"fmt"
	"strings"
)

// Input is where Load looks.
type Input struct {
	Root    string     // stands for /; empty: / (tests have their own)
	File    string     // read instead of the file and the drop-ins; empty: those. LOCKSMITHD_CONFIG is the same
	Environ []string   // NAME=value
	Flags   []Override // from the command line, of which the last of a setting counts
}

// Override is one setting as text.
type Override struct {
	Setting string // as store.endpoints
	Value   string // of lists: see ParseOverride
	Origin  string // for people, as --endpoints
}

// Loaded is a configuration that is right, and how it came about.
type Loaded struct {
	Config   Config
	Origins  map[string]string // where each setting that is not the default was set, as /etc/…/locksmithd.yaml:3
	Files    []string          // that were read, in that order
	Warnings []string          // for people: nothing that keeps the agent from running
}

// Load reads all of it. The error joins one for each thing that is wrong.
func Load(in Input) (*Loaded, error) {
	d := &decoder{config: &Config{}, places: map[string]string{}}
	d.config.Defaults()
	loaded := &Loaded{Origins: map[string]string{}}
	variables, err := variablesOf(in)
	if err != nil {
		return nil, err
	}
	if loaded.Files, err = in.files(variables); err != nil {
		return nil, err
	}
	for _, path := range loaded.Files {
		data, err := readBounded(path, maxFileBytes)
		if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		d.file(path, data)
	}
	loaded.Warnings = d.variables(variables)
	for _, o := range in.Flags {
		d.override(o)
	}
	if _, said := d.places["blockers.quorum"]; d.config.Strategy == StrategyReboot && !said {
		d.config.Blockers.Quorum = false // a machine that takes no slot need not reach a store
	}
	// What could not be read was left at its default, so there is no point in looking at the whole.
	if len(d.errs) == 0 {
		d.validate()
	}
	if err := errors.Join(d.errs...); err != nil {
		return nil, err
	}
	loaded.Config = *d.config
	for _, setting := range Settings() {
		if place, set := d.places[setting]; set {
			loaded.Origins[setting] = place
		}
	}
	loaded.warnOfSecrets(d.places)
	return loaded, nil
}

func (in *Input) files(variables map[string]variable) ([]string, error) {
	if in.File != "" {
		return []string{in.File}, nil
	}
	if v := variables[variableConfig]; v.value != "" {
		return []string{v.value}, nil
	}
	return files(in.Root)
}

// validate says of each wrong setting where it was set.
func (d *decoder) validate() {
	for _, err := range flatten(d.config.Validate()) {
		setting, _, _ := strings.Cut(err.Error(), ": ")
		if place := d.placeOf(setting); place != "" {
			err = fmt.Errorf("%s: %w", place, err)
		}
		d.errs = append(d.errs, err)
	}
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, inner := range joined.Unwrap() {
		all = append(all, flatten(inner)...)
	}
	return all
}

// placeOf is where a setting was set, or else the list or block that it is in; empty: it is a default.
func (d *decoder) placeOf(setting string) string {
	for setting != "" {
		if place, ok := d.places[setting]; ok {
			return place
		}
		setting = setting[:max(0, strings.LastIndexAny(setting, ".["))]
	}
	return ""
}

// warnOfSecrets tells of passwords that every user of the machine can read.
func (l *Loaded) warnOfSecrets(places map[string]string) {
	if file := l.Config.Store.PasswordFile; file != "" && readableByOthers(file) {
		l.Warnings = append(l.Warnings, fmt.Sprintf("store.password_file: %s can be read by every user: chmod o-r it", file))
	}
	if l.Config.Store.Password == "" {
		return
	}
	for _, path := range l.Files {
		if strings.HasPrefix(places["store.password"], path+":") && readableByOthers(path) {
			l.Warnings = append(l.Warnings, fmt.Sprintf("store.password: %s can be read by every user: chmod o-r it, or use store.password_file", path))
		}
	}
}
