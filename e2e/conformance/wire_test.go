package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coordd/coordd/e2e/wiretest"
	"github.com/coordd/coordd/proto/v3electionpb"
	"github.com/coordd/coordd/proto/v3lockpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const wireFile = "../../docs/WIRE.md"

// notExercised are the fields that no body sets or sees, and why.
var notExercised = map[protoreflect.FullName]string{
	"etcdserverpb.DowngradeInfo.enabled":       "there is nothing to go back to",
	"etcdserverpb.DowngradeInfo.targetVersion": "there is nothing to go back to",
	"etcdserverpb.LeaseGrantResponse.error":    "etcd never sets it",
	"etcdserverpb.MoveLeaderResponse.header":   "etcd never sets it",
	"etcdserverpb.SnapshotResponse.header":     "etcd never sets it",
}

// checkWire compares the tables of docs/WIRE.md with what the bodies have exercised,
// which must be all there is.
func checkWire(t *testing.T, seen *coverage) {
	services := services()
	seen.requireAll(t, services)
	seen.requireRoutes(t, services)
	wiretest.Check(t, wireFile, "calls", seen.callRows(services))
	wiretest.Check(t, wireFile, "messages", seen.messageRows(services))
	wiretest.Check(t, wireFile, "HTTP", seen.pathRows())
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
			rows = append(rows, fmt.Sprintf("| %s | %s |", name, strings.ReplaceAll(strings.Join(c.errorsOf(name), "<br>"), "|", "\\|")))
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

// requireRoutes fails for every path that etcd's definition has for the gateway and
// that no body has asked.
func (c *coverage) requireRoutes(t *testing.T, services []protoreflect.ServiceDescriptor) {
	methods(services, func(name string, m protoreflect.MethodDescriptor) {
		rule, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
		for _, r := range append(rule.GetAdditionalBindings(), rule) {
			if path := r.GetPost(); path != "" && c.paths["POST "+path] == nil {
				t.Errorf("no body asks POST %s, which is %s", path, name)
			}
		}
	})
}

func (c *coverage) pathRows() []string {
	rows := []string{"| request | status compared |", "|---|---|"}
	for _, path := range slices.Sorted(maps.Keys(c.paths)) {
		var codes []string
		for _, code := range slices.Sorted(maps.Keys(c.paths[path])) {
			codes = append(codes, strconv.Itoa(code))
		}
		rows = append(rows, fmt.Sprintf("| %s | %s |", path, strings.Join(codes, ", ")))
	}
	return rows
}
