package environment_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/coordd/coordd/cmd/environment"
	"github.com/spf13/pflag"
)

func TestSet(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	given := flags.String("given-flag", "", "")
	left := flags.String("left-flag", "", "")
	empty := flags.String("empty", "default", "")
	number := flags.Int("number", 1, "")
	if err := flags.Parse([]string{"--given-flag=line"}); err != nil {
		t.Fatal(err)
	}
	unknown, err := environment.Set(flags, "X_", []string{"X_GIVEN_FLAG=env", "X_LEFT_FLAG=a=b", "X_EMPTY=", "X_UNKNOWN=1", "Y_NUMBER=2"})
	if err != nil {
		t.Fatal(err)
	}
	if *given != "line" || *left != "a=b" || *empty != "default" || *number != 1 {
		t.Errorf("given %q, left %q, empty %q, number %d", *given, *left, *empty, *number)
	}
	if !slices.Equal(unknown, []string{"X_UNKNOWN"}) {
		t.Errorf("unknown are %q, want X_UNKNOWN alone", unknown)
	}
	if _, err := environment.Set(flags, "X_", []string{"X_NUMBER=many"}); err == nil || !strings.Contains(err.Error(), "X_NUMBER") {
		t.Errorf("a wrong value: %v, want an error that names X_NUMBER", err)
	}
}
