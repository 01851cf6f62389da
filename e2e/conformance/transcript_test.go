package conformance

import (
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// transcript is what a body saw, in words that two servers can be compared by.
type transcript struct {
	lines []string
	ids   map[string]int // ids that a server chose, in the order of their appearance
}

func (t *transcript) add(line string) { t.lines = append(t.lines, line) }

func (t *transcript) addf(format string, args ...any) { t.add(fmt.Sprintf(format, args...)) }

// diff returns the first place at which two transcripts part, or "".
func (t *transcript) diff(other *transcript) string {
	at := 0
	for at < len(t.lines) && at < len(other.lines) && t.lines[at] == other.lines[at] {
		at++
	}
	if at == len(t.lines) && at == len(other.lines) {
		return ""
	}
	var out strings.Builder
	for _, same := range t.lines[max(0, at-4):at] {
		fmt.Fprintf(&out, "  %.500s\n", same)
	}
	for _, side := range []struct {
		sign  string
		lines []string
	}{{"-", t.lines}, {"+", other.lines}} {
		for _, line := range side.lines[min(at, len(side.lines)):min(at+3, len(side.lines))] {
			fmt.Fprintf(&out, "%s %.500s\n", side.sign, line)
		}
	}
	return out.String()
}

// call adds a unary call and how it ended.
func (t *transcript) call(method string, req, resp proto.Message, err error) {
	t.addf("%s %s", shortMethod(method), t.text(req))
	if err != nil {
		t.addf("  %s", errorText(err))
		return
	}
	t.addf("  → %s", t.text(resp))
}

func errorText(err error) string {
	s := status.Convert(err)
	if s.Code() == codes.DeadlineExceeded { // in the words of the side that notices first
		return s.Code().String()
	}
	return fmt.Sprintf("%s: %s", s.Code(), s.Message())
}

func shortMethod(method string) string {
	method = strings.TrimPrefix(method, "/")
	return strings.TrimPrefix(method, "etcdserverpb.")
}

// text returns a message in one line, without what is a server's own choice.
func (t *transcript) text(m proto.Message) string {
	m = proto.Clone(m)
	t.normalize(m.ProtoReflect())
	text, err := prototext.MarshalOptions{}.Marshal(m)
	if err != nil {
		return err.Error()
	}
	// prototext varies its blanks so that nobody depends on them.
	return strings.Join(strings.Fields(string(text)), " ")
}

// chosen are the fields whose values servers choose: ids become the number of their
// first appearance.
var chosen = map[protoreflect.Name]bool{
	"ID": true, "lease": true, "leader": true, "memberID": true, "targetID": true, "cluster_id": true, "member_id": true,
}

// measured are the fields that say how a server does: only whether they are there counts.
var measured = map[protoreflect.Name]bool{
	"raft_term": true, "raftTerm": true, "raftIndex": true, "raftAppliedIndex": true, "dbSize": true, "dbSizeInUse": true,
}

func (t *transcript) normalize(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				t.normalize(v.List().Get(i).Message())
			}
		case f.IsMap() || f.IsList():
		case f.Message() != nil:
			t.normalize(v.Message())
		case chosen[f.Name()]:
			m.Set(f, number(f, t.ordinal(v)))
		case measured[f.Name()]:
			m.Set(f, number(f, 1))
		}
		return true
	})
}

// ordinal gives large numbers, as servers draw them, the number of their first
// appearance; small ones are a body's own choice and stay.
func (t *transcript) ordinal(v protoreflect.Value) int64 {
	text := v.String()
	if len(text) < len("4294967296") {
		var n int64
		fmt.Sscan(text, &n)
		return n
	}
	if t.ids == nil {
		t.ids = map[string]int{}
	}
	if _, known := t.ids[text]; !known {
		t.ids[text] = len(t.ids)
	}
	return int64(1_000_000 + t.ids[text])
}

func number(f protoreflect.FieldDescriptor, n int64) protoreflect.Value {
	if f.Kind() == protoreflect.Uint64Kind {
		return protoreflect.ValueOfUint64(uint64(n))
	}
	return protoreflect.ValueOfInt64(n)
}

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return rawURL
	}
	return u.Host
}
