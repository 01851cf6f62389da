package machines

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// timed is the time of a line of a script.
func timed(second int) time.Time { return time.Date(2020, 1, 1, 12, 0, second, 0, time.UTC) }

// turnsOf builds what happened, one line a second: "a: granted", "a: released" and the
// like of the slots of the group unit-x.service, "a down" and "a up" of x.
func turnsOf(t *testing.T, lines ...string) *Turns {
	t.Helper()
	turns := &Turns{Names: map[string]string{"0a": "a", "0b": "b"}, Group: "unit-x.service"}
	journals := map[string]string{}
	for i, line := range lines {
		who, what, _ := strings.Cut(line, " ")
		name, slot := strings.CutSuffix(who, ":")
		if slot {
			id, end := "0"+name, what != "granted"
			turns.Changes = append(turns.Changes,
				Change{Revision: int64(i), Key: "locksmith/slots/holders/unit-x.service/" + id, Value: "{}", Deleted: end},
				Change{Revision: int64(i), Key: fmt.Sprintf("locksmith/history/unit-x.service/%d", i),
					Value: fmt.Sprintf(`{"time":%q,"event":%q,"id":%q}`, timed(i).Format(time.RFC3339Nano), what, id)})
			continue
		}
		said := map[string]string{"up": "Started x.service - X.", "down": "Stopping x.service - X...", "died": "x.service: Failed with result 'exit-code'."}[what]
		journals[name] += fmt.Sprintf("%s %s systemd[1]: %s\n%[1]s %[2]s x[9]: Started to serve\n", timed(i).Format("2006-01-02T15:04:05.000000-0700"), name, said)
	}
	for _, name := range []string{"a", "b"} {
		out, err := outages(name, journals[name])
		must(t, err)
		turns.Outages = append(turns.Outages, out...)
	}
	return turns
}

func TestCheckerOfRestartsComplains(t *testing.T) {
	for name, c := range map[string]struct {
		script, want string // want is in the first complaint; "" where there is none
	}{
		"one after the other":     {"a: granted,a down,a up,a: returned,b: granted,b down,b up,b: returned", ""},
		"failed, repaired":        {"a: granted,a down,a died,a up,a: returned,b: granted,b down,b up,b: released", ""},
		"failed, not repaired":    {"a: granted,a down", ""},
		"one given up":            {"a: granted,a: released,b: granted,b down,b up,b: released", ""},
		"two slots":               {"a: granted,b: granted,a: returned,b: returned", "held by a and b"},
		"two down":                {"a: granted,a down,b down,a up,b up,a: returned", "down at 12:00:04.000: a and b"},
		"one dies meanwhile":      {"a: granted,a down,b died,a up,b up,a: returned", "down at 12:00:04.000: a and b"},
		"down for ever":           {"a: granted,a down,b: granted", "held by a and b"},
		"without a slot":          {"a down,a up", "a went down at 12:00:02.000 without a slot"},
		"with another's slot":     {"b: granted,a down,a up,b: returned", "a went down at 12:00:03.000 without a slot"},
		"given back too early":    {"a: granted,a down,a: returned,a up", "or came back after it"},
		"taken away meanwhile":    {"a: granted,a down,a: unlocked,a up", "or came back after it"},
		"given back, never again": {"a: granted,a down,a: returned", "or came back after it"},
	} {
		t.Run(name, func(t *testing.T) {
			wrong := turnsOf(t, strings.Split("a up,b up,"+c.script, ",")...).Judge()
			if c.want == "" && len(wrong) > 0 || c.want != "" && (len(wrong) == 0 || !strings.Contains(wrong[0], c.want)) {
				t.Errorf("complaints %q, want %q", wrong, c.want)
			}
		})
	}
	broken := &Turns{Group: "g", Changes: []Change{{Key: "locksmith/history/g/1", Value: "nonsense"}}}
	if wrong := broken.Judge(); len(wrong) != 1 || !strings.Contains(wrong[0], "no event") {
		t.Errorf("complaints %q of a history that cannot be read", wrong)
	}
}
