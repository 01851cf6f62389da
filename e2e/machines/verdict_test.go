package machines

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// script builds a history of two members of the store, a and b, and of c, line by line: an
// event of a machine, "a up 1", or a change of its slot, "a: held 1", where "a: -" gives it back.
func script(lines ...string) *History {
	h := &History{Names: map[string]string{"0a": "a", "0b": "b", "0c": "c"}}
	clock := time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC)
	for i, line := range lines {
		first, rest, _ := strings.Cut(line, " ")
		second, third, _ := strings.Cut(rest, " ")
		name, slot := strings.CutSuffix(first, ":")
		if !slot {
			h.Events = append(h.Events, Event{At: clock.Add(time.Duration(i) * time.Second), Machine: name, What: What(second), Boot: third})
			continue
		}
		c := Change{Revision: int64(i), Key: "locksmith/holders/default/0" + name, Deleted: second == "-"}
		if !c.Deleted {
			c.Value = fmt.Sprintf(`{"id":"0%s","phase":%q,"boot_id":%q}`, name, second, third)
		}
		h.Changes = append(h.Changes, c)
	}
	return h
}

// goodTrip is how a machine reboots as it should.
func goodTrip(name string) []string {
	return strings.Split(strings.ReplaceAll("N: held 1,N: rebooting 1,N stopping 1,N ended,N booting,N up 2,N: back 2,N: verifying 2,N: -", "N", name), ",")
}

func TestCheckerComplains(t *testing.T) {
	start := []string{"a booting", "a up 1", "b up 1", "c up 1"}
	rules := Rules{MaxDown: 1, Members: []string{"a", "b"}}
	two := Rules{MaxDown: 2, Members: rules.Members}
	for name, c := range map[string]struct {
		lines []string
		rules Rules
		want  string // in the first complaint; "" where there is none
	}{
		"one after the other":                {slices.Concat(goodTrip("a"), goodTrip("b"), goodTrip("c")), rules, ""},
		"a reboot that could not be started": {[]string{"a: held 1", "a: rebooting 1", "a: held 1", "a: -"}, rules, ""},
		"a power cut needs no slot":          {[]string{"a cut", "a ended", "a up 2"}, rules, ""},
		"two may be down":                    {[]string{"a cut", "c cut"}, two, ""},
		"two down":                           {[]string{"a cut", "c cut"}, rules, "a and c, more than 1"},
		"two members down":                   {[]string{"a cut", "b cut"}, two, "a and b, members"},
		"two slots":                          {[]string{"a: held 1", "c: held 1"}, rules, "held by a and c, more than 1"},
		"two members' slots":                 {[]string{"a: held 1", "b: held 1"}, two, "held by a and b, members"},
		"given back before the boot":         {[]string{"a: rebooting 1", "a: -"}, rules, "gave its slot back as rebooting"},
		"given back under the same boot":     {[]string{"a: rebooting 1", "a: back 1", "a: -"}, rules, "gave its slot back as back"},
		"given back under a boot that never was": {
			[]string{"a: rebooting 1", "a: back 9", "a: -"}, rules, "gave its slot back as back under boot 9"},
		"an operator gave up":     {[]string{"a: rebooting 1", "a: -", "a cut", "c cut"}, Rules{MaxDown: 1, GivenUp: []string{"a"}}, ""},
		"a reboot without a slot": {[]string{"a stopping 1", "a ended", "a up 2"}, rules, "from boot 1 to 2 without a slot"},
		"a slot that was lost on the way": {
			[]string{"a: rebooting 1", "a: -", "a stopping 1", "a up 2", "a: held 2", "a: -"}, rules, "gave its slot back as rebooting"},
		"the boot id stays": {[]string{"a cut", "a up 1"}, rules, "came up twice under boot 1"},
		"no record":         {nil, rules, "no record"},
	} {
		t.Run(name, func(t *testing.T) {
			h := script(append(slices.Clone(start), c.lines...)...)
			if c.lines == nil {
				h.Changes = []Change{{Revision: 9, Key: "locksmith/groups/default/holders/0a", Value: "nonsense"}}
			}
			wrong := h.Judge(c.rules)
			if c.want == "" && len(wrong) > 0 || c.want != "" && (len(wrong) == 0 || !strings.Contains(wrong[0], c.want)) {
				t.Errorf("complaints %q, want %q", wrong, c.want)
			}
		})
	}
}
