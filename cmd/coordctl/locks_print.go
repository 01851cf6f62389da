package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/coordd/coordd/recipes"
)

// listing is what stands below one name of a kind.
type listing struct {
	Kind string `json:"kind"`
	recipes.Listing
}

// listings are who holds and who waits, as of a time of the local clock.
type listings struct {
	Listings []listing `json:"listings"`
	now      time.Time
	readable []heldKind // which the user may read
}

// simple writes a line for each name, and below it one for each who holds it or waits.
func (r *listings) simple(t *text) {
	var aligned bytes.Buffer
	columns := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	for _, l := range r.Listings {
		fmt.Fprintf(columns, "%s %s%s\n", l.Kind, t.cell([]byte(l.Name)), l.usage())
		for _, p := range l.Places {
			fmt.Fprintf(columns, "  %s\t%s\t%s\t%s\n", p.State, r.age(p), who(t, p.Holder), strings.Join(r.details(t, l.Kind, p), ", "))
		}
	}
	columns.Flush()
	for line := range strings.Lines(aligned.String()) {
		t.line(strings.TrimRight(line, " \n"))
	}
}

// usage is how much of a semaphore is taken.
func (l *listing) usage() string {
	if l.Limit == nil {
		return ""
	}
	taken := int64(0)
	for _, p := range l.Places {
		if p.State != recipes.Waiting {
			taken += p.Holder.Weight
		}
	}
	return fmt.Sprintf(", %d of %d taken", taken, *l.Limit)
}

// age is how long an attempt has been there.
func (r *listings) age(p recipes.Place) string {
	if p.Holder.Since.IsZero() {
		return "?"
	}
	return ageText(r.now.Sub(p.Holder.Since))
}

// ageText shows as much of a time as matters to people.
func ageText(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	hours, minutes := int(d.Hours()), int(d.Minutes())%60
	switch {
	case hours >= 24:
		return fmt.Sprintf("%dd%dh", hours/24, hours%24)
	case hours > 0:
		return fmt.Sprintf("%dh%dm", hours, minutes)
	}
	return d.String()
}

// who names a holder for people: what it calls itself, and where it runs unless that says so.
func who(t *text, h recipes.Holder) string {
	at := fmt.Sprintf("%s/%d", h.Host, h.PID)
	switch h.Identity {
	case at:
		return t.cell([]byte(at))
	case "":
		return "?"
	}
	return fmt.Sprintf("%s (%s)", t.cell([]byte(h.Identity)), t.cell([]byte(at)))
}

// details are what else is known of a place.
func (r *listings) details(t *text, kind string, p recipes.Place) (parts []string) {
	if has := has(t, kind, p); has != "" {
		parts = append(parts, has)
	}
	if p.Holder.Reason != "" {
		parts = append(parts, strconv.Quote(p.Holder.Reason))
	}
	if p.AskedBy != nil {
		parts = append(parts, asked(t, *p.AskedBy))
	}
	if ahead := p.Holder.Since.Sub(r.now); ahead >= time.Second {
		parts = append(parts, "its clock is ahead by "+ageText(ahead)+" or more")
	}
	return parts
}

// has is what a place has, or waits for: the mode of a lock that is shared, slots, a proclaimed value, an item.
func has(t *text, kind string, p recipes.Place) string {
	switch {
	case p.Holder.Slots != "":
		return "slots " + t.cell([]byte(p.Holder.Slots))
	case p.Holder.Weight > 0:
		return fmt.Sprintf("weight %d", p.Holder.Weight)
	case p.Holder.Item != "":
		return "item " + t.cell([]byte(p.Holder.Item))
	case p.Value != "":
		return "value " + strconv.Quote(p.Value)
	case kind == "lock" && p.Shared:
		return "shared"
	}
	return ""
}

// asked says who asks for a release.
func asked(t *text, h recipes.Holder) string {
	text := "asked to release by " + who(t, h)
	if h.Reason != "" {
		text += ": " + strconv.Quote(h.Reason)
	}
	return text
}

func (r *listings) table(t *text) (header []string, rows [][]string) {
	for _, l := range r.Listings {
		limit := ""
		if l.Limit != nil {
			limit = strconv.FormatInt(*l.Limit, 10)
		}
		if len(l.Places) == 0 {
			rows = append(rows, []string{l.Kind, t.cell([]byte(l.Name)), limit, "free", "", "", ""})
		}
		for _, p := range l.Places {
			rows = append(rows, []string{
				l.Kind, t.cell([]byte(l.Name)), limit, string(p.State), r.age(p), who(t, p.Holder), strings.Join(r.details(t, l.Kind, p), ", "),
			})
		}
	}
	return []string{"Kind", "Name", "Limit", "State", "Age", "Who", "Details"}, rows
}

func (r *listings) fields(t *text) {
	for _, l := range r.Listings {
		t.quoted("Kind", l.Kind)
		t.quoted("Name", l.Name)
		if l.Limit != nil {
			t.field("Limit", *l.Limit)
		}
		for _, p := range l.Places {
			t.place(p)
		}
	}
}

func (t *text) place(p recipes.Place) {
	t.quoted("State", string(p.State))
	t.quoted("Key", p.Key)
	t.field("Revision", p.Revision)
	t.field("Lease", t.leaseID(int64(p.Lease)))
	t.field("Shared", p.Shared)
	t.quoted("Value", p.Value)
	t.holder("", p.Holder)
	if p.AskedBy != nil {
		t.holder("AskedBy", *p.AskedBy)
	}
}

func (t *text) holder(prefix string, h recipes.Holder) {
	t.quoted(prefix+"Identity", h.Identity)
	t.quoted(prefix+"Host", h.Host)
	t.field(prefix+"PID", h.PID)
	t.field(prefix+"Since", h.Since.Format(time.RFC3339Nano))
	t.quoted(prefix+"Reason", h.Reason)
	if prefix == "" {
		t.field("Weight", h.Weight)
		t.quoted("Slots", h.Slots)
		t.quoted("Item", h.Item)
	}
}

func (r *listings) value(bool) any { return r }
