package main

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coordd/coordd/locksmith/slots"
)

const prefix = "slots/holders/"

// story makes a history of lines: "m1 held 1" is a record with its phase and
// boot, "m1 gone" its deletion, "write 3" a write of the counter.
func story(t *testing.T, lines ...string) (history []event) {
	t.Helper()
	for i, line := range lines {
		e := event{revision: int64(i + 2)}
		words := strings.Fields(line)
		switch {
		case words[0] == "write":
			e.key, e.value = counterKey, words[1]
		case words[1] == "gone":
			e.key, e.deleted = prefix+words[0], true
		default:
			value, err := json.Marshal(slots.Record{ID: words[0], Phase: slots.Phase(words[1]), BootID: words[2]})
			if err != nil {
				t.Fatal(err)
			}
			e.key, e.value = prefix+words[0], string(value)
		}
		history = append(history, e)
	}
	return history
}

// ackedIn is every write of a history, as if acknowledged.
func ackedIn(t *testing.T, history []event) (acked []write) {
	t.Helper()
	for _, e := range history {
		if e.key == counterKey {
			n, err := strconv.Atoi(e.value)
			if err != nil {
				t.Fatal(err)
			}
			acked = append(acked, write{n, e.revision})
		}
	}
	return acked
}

var asItMustBe = []string{
	"m1 held 1", "write 1", "m1 rebooting 1", "m1 back 2", "m1 verifying 2", "m1 gone",
	"write 2", "m2 held 1", "m2 rebooting 1", "m2 held 1", "m2 gone", // the reboot command failed
	"m2 held 1", "m2 rebooting 1", "write 3", "m2 back 2", "m2 verifying 2", "m2 gone",
}

func complaints(findings []finding) (all []string) {
	for _, f := range findings {
		all = append(all, f.wrong...)
	}
	return all
}

func TestVerdictIsContent(t *testing.T) {
	history := story(t, asItMustBe...)
	if wrong := complaints(judge(history, expectation{prefix, []string{"m1", "m2"}, 1, ackedIn(t, history)})); len(wrong) > 0 {
		t.Errorf("complains: %q", wrong)
	}
}

// TestVerdictComplains changes the good story, and demands the complaint.
func TestVerdictComplains(t *testing.T) {
	replace := func(line int, with ...string) func([]string) []string {
		return func(s []string) []string { return slices.Replace(s, line, line+1, with...) }
	}
	until := func(n int) func([]string) []string {
		return func(s []string) []string { return s[:n] }
	}
	for name, test := range map[string]struct {
		change func([]string) []string
		want   string
	}{
		"two down at once":         {replace(2, "m1 rebooting 1", "m2 held 1", "m2 rebooting 1", "m2 back 3"), "m1 and m2 down at revision 6"},
		"two slots at once":        {replace(0, "m1 held 1", "m2 held 1"), "slots of m1 and m2 at revision 3"},
		"one never came back":      {until(14), "m2 never came back"},
		"one never gave back":      {until(16), "m2 came back and never gave its slot back"},
		"a slot is left":           {until(16), "slots of m2"},
		"one never went":           {until(7), "m2 never took a slot"},
		"one only took the slot":   {until(11), "m2 rebooted 0 times"},
		"one boot id":              {replace(3, "m1 back 1"), `back under the boot id "1"`},
		"released while down":      {replace(3, "m1 gone", "m1 held 2"), "m1 lost its slot while it was down"},
		"no sign of coming back":   {replace(3, "m1 verifying 2"), "verifying while it was down"},
		"what is written twice":    {replace(1, "write 1", "write 1"), "write 1 is there 2 times"},
		"a record that is no JSON": {replace(0, "m1 \xff 1"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			history := story(t, test.change(slices.Clone(asItMustBe))...)
			if test.want == "" {
				history[0].value, test.want = "no json", "m1 at revision 2: no record"
			}
			wrong := complaints(judge(history, expectation{prefix, []string{"m1", "m2"}, 1, ackedIn(t, history)}))
			if !slices.ContainsFunc(wrong, func(s string) bool { return strings.Contains(s, test.want) }) {
				t.Errorf("complaints %q, want %q", wrong, test.want)
			}
		})
	}
}

// TestVerdictOnWrites changes what was acknowledged instead.
func TestVerdictOnWrites(t *testing.T) {
	history := story(t, asItMustBe...)
	for name, test := range map[string]struct {
		change func([]write) []write
		want   string
	}{
		"a write is missing":   {func(w []write) []write { return append(w, write{4, 19}) }, "write 4, acknowledged at revision 19, is missing"},
		"a write has moved":    {func(w []write) []write { w[1].revision++; return w }, "write 2, acknowledged at revision 9, is at 8"},
		"the order is another": {func(w []write) []write { slices.Reverse(w); return w }, "is not after the one before it"},
		"nothing was written":  {func([]write) []write { return nil }, "no write was acknowledged"},
	} {
		t.Run(name, func(t *testing.T) {
			wrong := complaints([]finding{judgeWrites(history, test.change(ackedIn(t, history)))})
			if !slices.ContainsFunc(wrong, func(s string) bool { return strings.Contains(s, test.want) }) {
				t.Errorf("complaints %q, want %q", wrong, test.want)
			}
		})
	}
}

func TestVerdictOnGaps(t *testing.T) {
	history := story(t, asItMustBe...)
	if f := judgeComplete(slices.Delete(history, 3, 4)); len(f.wrong) != 1 || f.wrong[0] != "revision 6 follows 4" {
		t.Errorf("complaints %q", f.wrong)
	}
}
