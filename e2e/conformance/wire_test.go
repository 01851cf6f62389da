package conformance

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/coordd/coordd/proto/v3electionpb"
	"github.com/coordd/coordd/proto/v3lockpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const wireFile = "../../docs/WIRE.md"

// notExercised are the fields that no body sets or sees, and why.
var notExercised = map[protoreflect.FullName]string{}

// checkWire compares the tables of docs/WIRE.md with what the bodies have
// exercised, or writes them with -update.
func checkWire(t *testing.T, seen *coverage) {
	page, err := os.ReadFile(wireFile)
	if err != nil {
		t.Fatal(err)
	}
	services := services()
	seen.requireAll(t, services)
	made := string(page)
	for _, table := range []struct {
		name string
		rows []string
	}{
		{"calls", seen.callRows(services)},
		{"messages", seen.messageRows(services)},
	} {
		if made, err = replaceTable(made, table.name, table.rows); err != nil {
			t.Fatal(err)
		}
	}
	if made == string(page) {
		return
	}
	if !*update {
		t.Fatal("docs/WIRE.md is not what the bodies exercise: run go test ./e2e/conformance -update and look at the change")
	}
	if err := os.WriteFile(wireFile, []byte(made), 0o644); err != nil {
		t.Fatal(err)
	}
}

// services are all that etcd's API has.
func services() []protoreflect.ServiceDescriptor {
	var all []protoreflect.ServiceDescriptor
	for _, file := range []protoreflect.FileDescriptor{pb.File_rpc_proto, v3lockpb.File_v3lockpb_v3lock_proto, v3electionpb.File_v3electionpb_v3election_proto} {
		for i := range file.Services().Len() {
			all = append(all, file.Services().Get(i))
		}
	}
	return all
}

// methods calls f with every method, and the name that coverage has for it.
func methods(services []protoreflect.ServiceDescriptor, f func(name string, m protoreflect.MethodDescriptor)) {
	for _, s := range services {
		for i := range s.Methods().Len() {
			m := s.Methods().Get(i)
			f(shortMethod(string(s.FullName())+"/"+string(m.Name())), m)
		}
	}
}

// messages are those that the methods take and give, and all within them.
func messages(services []protoreflect.ServiceDescriptor) []protoreflect.MessageDescriptor {
	found := map[protoreflect.FullName]protoreflect.MessageDescriptor{}
	var visit func(m protoreflect.MessageDescriptor)
	visit = func(m protoreflect.MessageDescriptor) {
		if found[m.FullName()] != nil {
			return
		}
		found[m.FullName()] = m
		for i := range m.Fields().Len() {
			if inner := m.Fields().Get(i).Message(); inner != nil {
				visit(inner)
			}
		}
	}
	methods(services, func(_ string, m protoreflect.MethodDescriptor) {
		visit(m.Input())
		visit(m.Output())
	})
	return slices.SortedFunc(maps.Values(found), func(a, b protoreflect.MessageDescriptor) int {
		return strings.Compare(string(a.FullName()), string(b.FullName()))
	})
}

// requireAll fails for every call, field and value of the API that no body has
// exercised, unless it stands in notExercised.
func (c *coverage) requireAll(t *testing.T, services []protoreflect.ServiceDescriptor) {
	methods(services, func(name string, _ protoreflect.MethodDescriptor) {
		if !c.calls[name] {
			t.Errorf("no body calls %s", name)
		}
	})
	for _, m := range messages(services) {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			c.require(t, f.FullName(), c.fields[f.FullName()])
			if f.Enum() == nil {
				continue
			}
			for j := 1; j < f.Enum().Values().Len(); j++ { // the first is zero, which is not on the wire
				value := f.Enum().Values().Get(j).FullName()
				c.require(t, value, c.values[value])
			}
		}
	}
}

func (c *coverage) require(t *testing.T, name protoreflect.FullName, exercised bool) {
	_, excused := notExercised[name]
	switch {
	case !exercised && !excused:
		t.Errorf("no body exercises %s", name)
	case exercised && excused:
		t.Errorf("%s is exercised: strike it from notExercised", name)
	}
}

func (c *coverage) callRows(services []protoreflect.ServiceDescriptor) []string {
	rows := []string{"| call | errors compared |", "|---|---|"}
	methods(services, func(name string, _ protoreflect.MethodDescriptor) {
		if c.calls[name] {
			rows = append(rows, fmt.Sprintf("| %s | %s |", name, strings.Join(c.errorsOf(name), "<br>")))
		}
	})
	return rows
}

func (c *coverage) messageRows(services []protoreflect.ServiceDescriptor) []string {
	rows := []string{"| message | fields compared | not compared |", "|---|---|---|"}
	for _, m := range messages(services) {
		var covered, missing []string
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if c.fields[f.FullName()] {
				covered = append(covered, string(f.Name()))
			} else {
				missing = append(missing, fmt.Sprintf("%s: %s", f.Name(), notExercised[f.FullName()]))
			}
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s |", m.Name(), strings.Join(covered, ", "), strings.Join(missing, "; ")))
	}
	return rows
}

// replaceTable puts rows between the marks of a table.
func replaceTable(page, name string, rows []string) (string, error) {
	begin, end := "<!-- "+name+": made by go test ./e2e/conformance -update -->\n", "<!-- end of "+name+" -->\n"
	before, rest, ok := strings.Cut(page, begin)
	if !ok {
		return "", fmt.Errorf("docs/WIRE.md has no line %q", strings.TrimSpace(begin))
	}
	_, after, ok := strings.Cut(rest, end)
	if !ok {
		return "", fmt.Errorf("docs/WIRE.md has no line %q", strings.TrimSpace(end))
	}
	return before + begin + strings.Join(rows, "\n") + "\n" + end + after, nil
}
