package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/coordd/coordd/locksmith/window"
)

const (
	variablePrefix = "LOCKSMITHD_"
	variableConfig = "LOCKSMITHD_CONFIG"
)

// Variable is the name of a setting in the environment: store.ca_file is LOCKSMITHD_STORE_CA_FILE.
func Variable(setting string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(setting, ".", "_"))
}

// oldVariables are the names that CoreOS's and Flatcar's locksmithd knows, and
// those of this one before it had a file.
func oldVariables() map[string]string {
	return map[string]string{
		"REBOOT_STRATEGY":          "strategy",
		"LOCKSMITHD_ENDPOINT":      "store.endpoints",
		"LOCKSMITHD_ENDPOINTS":     "store.endpoints",
		"LOCKSMITHD_ETCD_CAFILE":   "store.ca_file",
		"LOCKSMITHD_ETCD_CERTFILE": "store.cert_file",
		"LOCKSMITHD_ETCD_KEYFILE":  "store.key_file",
		"LOCKSMITHD_ETCD_USERNAME": "store.username",
		"LOCKSMITHD_ETCD_PASSWORD": "store.password",
		"LOCKSMITHD_GROUP":         "machine.group",
		"LOCKSMITHD_ZONE":          "machine.zone",
		"LOCKSMITHD_BOOT_ID_FILE":  "machine.boot_id_file",
		"LOCKSMITHD_REASON":        "reboot.reason",
		"LOCKSMITHD_BACK_OFF":      "reboot.back_off",
		"LOCKSMITHD_SENTINEL_FILE": "triggers.sentinel_file",
	}
}

// windowVariables are the two that make the one window that CoreOS knows, each
// with its older name.
func windowVariables() (start, length [2]string) {
	return [2]string{"LOCKSMITHD_REBOOT_WINDOW_START", "REBOOT_WINDOW_START"},
		[2]string{"LOCKSMITHD_REBOOT_WINDOW_LENGTH", "REBOOT_WINDOW_LENGTH"}
}

// variablesOf are those of update.conf and over them the environment's, by name.
func variablesOf(in Input) (map[string]variable, error) {
	all := map[string]variable{}
	fromFiles, err := updateVariables(in.Root)
	if err != nil {
		return nil, err
	}
	for _, v := range fromFiles {
		all[v.name] = v
	}
	for _, assignment := range in.Environ {
		if name, value, ok := strings.Cut(assignment, "="); ok {
			all[name] = variable{name, value, "environment variable " + name}
		}
	}
	return all, nil
}

// variables puts in what the variables say: the old names first, the settings'
// own over them. An empty variable is none. What begins with LOCKSMITHD_ and is no
// setting is an error: it might be a window with a misspelt name.
func (d *decoder) variables(all map[string]variable) (warnings []string) {
	own := map[string]string{}
	for _, setting := range Settings() {
		own[Variable(setting)] = setting
	}
	old := oldVariables()
	start, length := windowVariables()
	known := slices.Concat(start[:], length[:], []string{variableConfig, "LOCKSMITHD_DEBUG", "LOCKSMITHD_VERSION"})
	var ours []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		v := all[name]
		switch {
		case own[name] != "":
			ours = append(ours, name)
		case v.value == "":
		case old[name] != "":
			d.override(Override{old[name], v.value, v.origin})
		case !strings.HasPrefix(name, variablePrefix) || slices.Contains(known, name):
		case strings.HasPrefix(name, "LOCKSMITHD_PORT") || strings.HasPrefix(name, "LOCKSMITHD_SERVICE_"):
			warnings = append(warnings, v.origin+" is ignored: it looks like one that Kubernetes sets for a service")
		default:
			d.errs = append(d.errs, fmt.Errorf("%s: there is no such setting", v.origin))
		}
	}
	d.coreOSWindow(all)
	for _, name := range ours {
		if v := all[name]; v.value != "" {
			d.override(Override{own[name], v.value, v.origin})
		}
	}
	return warnings
}

// coreOSWindow replaces the windows by the one of CoreOS's variables.
func (d *decoder) coreOSWindow(all map[string]variable) {
	pick := func(names [2]string) variable {
		if v := all[names[0]]; v.value != "" {
			return v
		}
		return all[names[1]]
	}
	startNames, lengthNames := windowVariables()
	start, length := pick(startNames), pick(lengthNames)
	switch {
	case start.value == "" && length.value == "":
		return
	case start.value == "":
		d.errs = append(d.errs, fmt.Errorf("%s: %s is missing: a window needs both", length.origin, startNames[0]))
		return
	case length.value == "":
		d.errs = append(d.errs, fmt.Errorf("%s: %s is missing: a window needs both", start.origin, lengthNames[0]))
		return
	}
	w, err := window.ParseCoreOS(start.value, length.value)
	if err != nil {
		d.errs = append(d.errs, fmt.Errorf("%s: %w", start.origin, err))
		return
	}
	d.config.Window.Windows = []window.Window{w}
	maps.DeleteFunc(d.places, func(place, _ string) bool { return strings.HasPrefix(place, "windows[") })
	d.places["windows"] = start.origin
	d.places["windows[0].length"] = length.origin
}

// override puts in one setting that is given as text. A list is [YAML], or one
// text or several between commas; a command is split at spaces, without a shell.
// Lists of blocks and of commands are YAML.
func (d *decoder) override(o Override) {
	s := source{name: o.Origin}
	v, ok := settingOf(reflect.ValueOf(d.config).Elem(), o.Setting)
	if !ok {
		d.errs = append(d.errs, fmt.Errorf("%s: %s: there is no such setting", o.Origin, o.Setting))
		return
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: o.Value}
	if isList := v.Kind() == reflect.Slice; isList || readsItself(v.Type()) {
		texts := isList && v.Type().Elem().Kind() == reflect.String
		switch {
		case texts && !strings.HasPrefix(strings.TrimSpace(o.Value), "["):
			n = textsNode(splitTexts(o.Setting, o.Value))
		case isList:
			var err error
			if n, err = parseYAML([]byte(o.Value)); err != nil {
				d.errs = append(d.errs, fmt.Errorf("%s: %s: %w", o.Origin, o.Setting, err))
				return
			}
			if n == nil {
				n = textsNode(nil)
			}
		}
	}
	d.value(s, o.Setting, n, v)
}

func splitTexts(setting, value string) []string {
	if strings.HasSuffix(setting, "command") {
		return strings.Fields(value)
	}
	parts := strings.Split(value, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func textsNode(texts []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, text := range texts {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text})
	}
	return n
}

// settingOf finds the value of a setting, which is no block.
func settingOf(v reflect.Value, setting string) (reflect.Value, bool) {
	name, rest, nested := strings.Cut(setting, ".")
	for _, f := range fieldsOf(v.Type()) {
		if f.name != name || isBlock(f.typ) != nested {
			continue
		}
		if !nested {
			return v.FieldByIndex(f.index), true
		}
		return settingOf(v.FieldByIndex(f.index), rest)
	}
	return reflect.Value{}, false
}
