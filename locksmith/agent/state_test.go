package agent

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// row is a state as docs/REBOOTS.md has it.
func row(s State) string {
	next := make([]string, len(states[s].next))
	for i, n := range states[s].next {
		next[i] = n.String()
	}
	return fmt.Sprintf("| %s | %s | %s |\n", s, states[s].means, strings.Join(next, ", "))
}

// TestDocsHaveTheTable holds the table in docs/REBOOTS.md against the one in the code.
func TestDocsHaveTheTable(t *testing.T) {
	docs, err := os.ReadFile("../../docs/REBOOTS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(docs), "| state | means | what may follow |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	want := ""
	for s := range states {
		want += row(State(s))
	}
	if !found || table+"\n" != want {
		t.Errorf("docs/REBOOTS.md must have this table:\n\n%s\nIt has:\n\n%s", want, table)
	}
	_, drawing, _ := strings.Cut(string(docs), "## States\n")
	drawing, _, _ = strings.Cut(drawing, "| state |")
	for s := range states {
		if !strings.Contains(drawing, State(s).String()) {
			t.Errorf("%s is not in the drawing", State(s))
		}
	}
}

// TestDocsHaveTheMetrics holds the list in docs/REBOOTS.md against what is registered.
func TestDocsHaveTheMetrics(t *testing.T) {
	docs, err := os.ReadFile("../../docs/REBOOTS.md")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	m.blocks("inhibitor")
	families, err := registry.Gather()
	if err != nil || len(families) < 8 {
		t.Fatalf("%v, %v", families, err)
	}
	for _, f := range families {
		if !strings.Contains(string(docs), "| `"+f.GetName()) {
			t.Errorf("%s is not in docs/REBOOTS.md: %s", f.GetName(), f.GetHelp())
		}
	}
}

func TestTransitions(t *testing.T) {
	entered := map[State]bool{Starting: true}
	for s, state := range states {
		if state.name == "" || state.means == "" {
			t.Errorf("state %d has no name or no meaning", s)
		}
		if State(s) != Gone && len(state.next) == 0 {
			t.Errorf("%s has no way out", State(s))
		}
		for _, next := range state.next {
			entered[next] = true
		}
	}
	for s := range states {
		if !entered[State(s)] {
			t.Errorf("no way leads to %s", State(s))
		}
	}
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{config: Config{Log: slog.New(slog.DiscardHandler), Metrics: metrics}}
	defer func() {
		if recover() == nil {
			t.Error("the agent went from starting to gone")
		}
	}()
	a.become(Gone, noon)
}
