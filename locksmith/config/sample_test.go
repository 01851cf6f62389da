package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const sampleFile = "../../deploy/systemd/locksmithd.yaml"

// TestSample: the file that is shipped says nothing; without the # it says every setting, with its default.
func TestSample(t *testing.T) {
	shipped, err := os.ReadFile(sampleFile)
	if err != nil {
		t.Fatal(err)
	}
	var want Config
	want.Defaults()
	for name, text := range map[string]string{
		"shipped":   string(shipped),
		"without #": regexp.MustCompile(`(?m)^( *)#([a-z])`).ReplaceAllString(string(shipped), "$1$2"),
	} {
		l := load(t, Input{Root: tree(t, map[string]string{etc: text})})
		if got, want := fmt.Sprintf("%+v", l.Config), fmt.Sprintf("%+v", want); got != want {
			t.Errorf("%s: %s, the defaults are\n%s", name, got, want)
		}
		for _, setting := range Settings() {
			if _, set := l.Origins[setting]; set != (name == "without #") {
				t.Errorf("%s: %s is set: %t", name, setting, set)
			}
		}
	}
}

// TestSampleExamples: what the comments of the sample give as examples can be used.
func TestSampleExamples(t *testing.T) {
	shipped, err := os.ReadFile(sampleFile)
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile(`(?m)^( *)# As: (.*)$`).FindAllStringSubmatch(string(shipped), -1)
	if len(examples) != 3 {
		t.Fatalf("%d examples, want 3", len(examples))
	}
	for _, example := range examples {
		text := example[2]
		if example[1] != "" {
			text = "health:\n  " + text
		}
		load(t, Input{Root: tree(t, map[string]string{etc: text})})
	}
}

// TestVariables: no two settings have one name in the environment, and no old name is that of a setting.
func TestVariables(t *testing.T) {
	names := map[string]string{}
	for _, setting := range Settings() {
		name := Variable(setting)
		if other := names[name]; other != "" {
			t.Errorf("%s stands for %s and for %s", name, other, setting)
		}
		names[name] = setting
	}
	for old, setting := range oldVariables() {
		if names[old] != "" {
			t.Errorf("%s is an old name of %s and the name of %s", old, setting, names[old])
		}
		if !slices.Contains(Settings(), setting) {
			t.Errorf("%s stands for %s, which is no setting", old, setting)
		}
	}
	if got := Variable("store.ca_file"); got != "LOCKSMITHD_STORE_CA_FILE" || !strings.HasPrefix(got, variablePrefix) {
		t.Error(got)
	}
}
