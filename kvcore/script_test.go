package kvcore_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/kvtest"
	"github.com/coordd/coordd/proto/coordpb"
)

// TestScripts runs the scripts in testdata. Each line is one request:
//
//	put KEY VALUE [lease=ID] [prev] [ignore-value] [ignore-lease]
//	delete KEY [END] [prev]
//	range KEY [END] [rev=N] [limit=N] [sort=TARGET] [order=asc|desc] [keys] [count] [min-mod=N] …
//	txn              then lines "if TARGET KEY [END] OP VALUE", "then REQUEST", "else REQUEST"
//	compact REV / grant ID TTL / revoke ID / expire TERM ID… / leases
//	raise ALARM MEMBER / lift ALARM MEMBER / alarms
//	watch NAME KEY [END] [rev=N] [prev] [no-put] [no-delete] / next NAME [bytes=N]
//	flush / step KEYS / restart / term N
//
// END is a key, or "+" for everything from KEY on, or "*" for the prefix KEY.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{Store: openMemory(t), term: 1, cursors: map[string]*kvcore.Cursor{}, told: map[string]bool{}}
		defer func() { s.Close() }()
		datadriven.RunTest(t, path, s.run)
	})
}

// entry is an entry of the log, of one request.
type entry struct {
	term uint64
	req  proto.Message
}

type script struct {
	*kvcore.Store
	term    uint64
	entries []entry
	cursors map[string]*kvcore.Cursor
	told    map[string]bool
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "do":
		var out strings.Builder
		for line := range strings.Lines(d.Input) {
			out.WriteString(s.line(t, strings.Fields(line)))
		}
		return out.String()
	case "txn":
		return s.apply(txn(t, d.Input))
	}
	t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
	return ""
}

func (s *script) line(t *testing.T, f []string) string {
	switch f[0] {
	case "range":
		return show(s.Range(t.Context(), request(t, f).(*pb.RangeRequest)))
	case "watch":
		return s.watch(t, f[1:])
	case "next":
		return s.next(t, f[1:])
	case "leases":
		return s.leases()
	case "alarms":
		return fmt.Sprintf("alarms %v\n", showAlarms(s.Alarms()))
	case "flush":
		if _, err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		return ""
	case "step":
		return fmt.Sprintf("more=%t\n", s.CompactStep(int(number(t, f[1]))))
	case "term":
		s.term = uint64(number(t, f[1]))
		return ""
	case "restart":
		s.restart(t)
		return ""
	}
	return s.apply(request(t, f))
}

func (s *script) apply(req proto.Message) string {
	s.entries = append(s.entries, entry{s.term, req})
	r := s.Apply(uint64(len(s.entries)), s.term, []proto.Message{req})[0]
	return show(r.Response, r.Err)
}

func (s *script) restart(t *testing.T) {
	b, err := kvtest.CrashMemory(s.Store)
	if err != nil {
		t.Fatal(err)
	}
	if s.Store, err = kvcore.Open(b, kvcore.Defaults()); err != nil {
		t.Fatal(err)
	}
	applied, _ := s.Applied()
	for i := applied; i < uint64(len(s.entries)); i++ {
		s.Apply(i+1, s.entries[i].term, []proto.Message{s.entries[i].req})
	}
}

func (s *script) leases() string {
	var out strings.Builder
	for _, id := range s.Leases().List() {
		l, _ := s.Leases().Lookup(id)
		fmt.Fprintf(&out, "%d ttl=%d keys=%q\n", id, l.TTLSeconds, s.Leases().Keys(id))
	}
	return out.String()
}

func (s *script) watch(t *testing.T, f []string) string {
	name := f[0]
	words, options := split(f[1:])
	o := kvcore.WatchOptions{Key: []byte(words[0])}
	o.RangeEnd = rangeEnd(words)
	for option, value := range options {
		switch option {
		case "rev":
			o.StartRevision = number(t, value)
		case "prev":
			o.PrevKV = true
		case "no-put":
			o.NoPut = true
		case "no-delete":
			o.NoDelete = true
		default:
			t.Fatalf("watch: unknown option %s", option)
		}
	}
	c, err := s.Watch(o, func() { s.told[name] = true })
	if err != nil {
		t.Fatal(err)
	}
	s.cursors[name] = c
	return ""
}

func (s *script) next(t *testing.T, f []string) string {
	_, options := split(f[1:])
	maxBytes := 1 << 20
	if b := options["bytes"]; b != "" {
		maxBytes = int(number(t, b))
	}
	c := s.cursors[f[0]]
	events, more, err := c.Next(maxBytes)
	if err != nil {
		return fmt.Sprintf("error: %v at %d\n", err, c.CompactRevision())
	}
	var out strings.Builder
	if s.told[f[0]] {
		out.WriteString("ready\n")
	}
	s.told[f[0]] = false
	for _, e := range events {
		fmt.Fprintf(&out, "%s %s", e.Type, showKV(e.Kv))
		if e.PrevKv != nil {
			fmt.Fprintf(&out, " was %s", showKV(e.PrevKv))
		}
		out.WriteString("\n")
	}
	fmt.Fprintf(&out, "more=%t revision=%d\n", more, c.Revision())
	return out.String()
}

// split parts fields into words and options, which are "name=value" or known
// flags.
func split(f []string) (words []string, options map[string]string) {
	flags := []string{"prev", "ignore-value", "ignore-lease", "keys", "count", "no-put", "no-delete"}
	options = map[string]string{}
	for _, w := range f {
		if name, value, ok := strings.Cut(w, "="); ok || slices.Contains(flags, w) {
			options[name] = value
		} else {
			words = append(words, w)
		}
	}
	return words, options
}

func rangeEnd(words []string) []byte {
	if len(words) < 2 {
		return nil
	}
	switch key := []byte(words[0]); words[1] {
	case "+":
		return []byte{0}
	case "*":
		key[len(key)-1]++
		return key
	}
	return []byte(words[1])
}

func number(t *testing.T, s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func request(t *testing.T, f []string) proto.Message {
	words, options := split(f[1:])
	has := func(o string) bool { _, ok := options[o]; return ok }
	num := func(o string) int64 {
		if !has(o) {
			return 0
		}
		return number(t, options[o])
	}
	switch f[0] {
	case "put":
		r := &pb.PutRequest{Key: []byte(words[0]), Lease: num("lease"), PrevKv: has("prev"), IgnoreValue: has("ignore-value"), IgnoreLease: has("ignore-lease")}
		if len(words) > 1 {
			r.Value = []byte(words[1])
		}
		return r
	case "delete":
		return &pb.DeleteRangeRequest{Key: []byte(words[0]), RangeEnd: rangeEnd(words), PrevKv: has("prev")}
	case "range":
		return &pb.RangeRequest{
			Key: []byte(words[0]), RangeEnd: rangeEnd(words), Revision: num("rev"), Limit: num("limit"),
			KeysOnly: has("keys"), CountOnly: has("count"),
			SortTarget:     pb.RangeRequest_SortTarget(pb.RangeRequest_SortTarget_value[strings.ToUpper(options["sort"])]),
			SortOrder:      map[string]pb.RangeRequest_SortOrder{"asc": pb.RangeRequest_ASCEND, "desc": pb.RangeRequest_DESCEND}[options["order"]],
			MinModRevision: num("min-mod"), MaxModRevision: num("max-mod"), MinCreateRevision: num("min-create"), MaxCreateRevision: num("max-create"),
		}
	case "compact":
		return &pb.CompactionRequest{Revision: number(t, words[0])}
	case "raise", "lift":
		r := &pb.AlarmRequest{Alarm: pb.AlarmType(pb.AlarmType_value[words[0]]), MemberID: uint64(number(t, words[1]))}
		r.Action = map[string]pb.AlarmRequest_AlarmAction{"raise": pb.AlarmRequest_ACTIVATE, "lift": pb.AlarmRequest_DEACTIVATE}[f[0]]
		return r
	case "grant":
		return &pb.LeaseGrantRequest{ID: number(t, words[0]), TTL: number(t, words[1])}
	case "revoke":
		return &pb.LeaseRevokeRequest{ID: number(t, words[0])}
	case "expire":
		r := &coordpb.LeaseExpireRequest{Term: uint64(number(t, words[0]))}
		for _, id := range words[1:] {
			r.Ids = append(r.Ids, number(t, id))
		}
		return r
	}
	t.Fatalf("unknown request %s", f[0])
	return nil
}

func txn(t *testing.T, input string) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for line := range strings.Lines(input) {
		f := strings.Fields(line)
		switch f[0] {
		case "if":
			r.Compare = append(r.Compare, compare(t, f[1:]))
		case "then":
			r.Success = append(r.Success, op(request(t, f[1:])))
		case "else":
			r.Failure = append(r.Failure, op(request(t, f[1:])))
		default:
			t.Fatalf("unknown part of a transaction: %s", line)
		}
	}
	return r
}

func op(req proto.Message) *pb.RequestOp {
	switch r := req.(type) {
	case *pb.PutRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
	case *pb.DeleteRangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
	case *pb.RangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	case *pb.TxnRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
	}
	return &pb.RequestOp{}
}

func compare(t *testing.T, f []string) *pb.Compare {
	results := map[string]pb.Compare_CompareResult{"=": pb.Compare_EQUAL, "!=": pb.Compare_NOT_EQUAL, "<": pb.Compare_LESS, ">": pb.Compare_GREATER}
	words, value := f[1:len(f)-2], f[len(f)-1]
	c := &pb.Compare{Key: []byte(words[0]), RangeEnd: rangeEnd(words), Result: results[f[len(f)-2]]}
	switch f[0] {
	case "value":
		c.Target, c.TargetUnion = pb.Compare_VALUE, &pb.Compare_Value{Value: []byte(value)}
	case "version":
		c.Target, c.TargetUnion = pb.Compare_VERSION, &pb.Compare_Version{Version: number(t, value)}
	case "create":
		c.Target, c.TargetUnion = pb.Compare_CREATE, &pb.Compare_CreateRevision{CreateRevision: number(t, value)}
	case "mod":
		c.Target, c.TargetUnion = pb.Compare_MOD, &pb.Compare_ModRevision{ModRevision: number(t, value)}
	case "lease":
		c.Target, c.TargetUnion = pb.Compare_LEASE, &pb.Compare_Lease{Lease: number(t, value)}
	}
	return c
}

func show(m proto.Message, err error) string {
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	var out strings.Builder
	switch r := m.(type) {
	case *pb.PutResponse:
		fmt.Fprintf(&out, "put @%d\n", r.Header.Revision)
		showKVs(&out, "  was ", r.PrevKv)
	case *pb.DeleteRangeResponse:
		fmt.Fprintf(&out, "deleted %d @%d\n", r.Deleted, r.Header.Revision)
		showKVs(&out, "  was ", r.PrevKvs...)
	case *pb.RangeResponse:
		fmt.Fprintf(&out, "count=%d more=%t @%d\n", r.Count, r.More, r.Header.Revision)
		showKVs(&out, "  ", r.Kvs...)
	case *pb.TxnResponse:
		fmt.Fprintf(&out, "succeeded=%t @%d\n", r.Succeeded, r.Header.Revision)
		for _, op := range r.Responses {
			out.WriteString(showOp(op))
		}
	case *pb.AlarmResponse:
		fmt.Fprintf(&out, "alarms %v\n", showAlarms(r.Alarms))
	case *coordpb.LeaseExpireResponse:
		fmt.Fprintf(&out, "expired %v\n", r.Expired)
	default:
		fmt.Fprintf(&out, "ok @%d\n", m.(interface{ GetHeader() *pb.ResponseHeader }).GetHeader().GetRevision())
	}
	return out.String()
}

func showAlarms(alarms []*pb.AlarmMember) (shown []string) {
	for _, a := range alarms {
		shown = append(shown, fmt.Sprintf("%v of %d", a.Alarm, a.MemberID))
	}
	return shown
}

func showOp(op *pb.ResponseOp) string {
	switch r := op.Response.(type) {
	case *pb.ResponseOp_ResponsePut:
		return show(r.ResponsePut, nil)
	case *pb.ResponseOp_ResponseRange:
		return show(r.ResponseRange, nil)
	case *pb.ResponseOp_ResponseDeleteRange:
		return show(r.ResponseDeleteRange, nil)
	case *pb.ResponseOp_ResponseTxn:
		return show(r.ResponseTxn, nil)
	}
	return "nothing\n"
}

func showKVs(out *strings.Builder, indent string, kvs ...*mvccpb.KeyValue) {
	for _, kv := range kvs {
		if kv != nil {
			fmt.Fprintf(out, "%s%s\n", indent, showKV(kv))
		}
	}
}

func showKV(kv *mvccpb.KeyValue) string {
	s := fmt.Sprintf("%s=%s [create %d mod %d version %d]", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version)
	if kv.Lease != 0 {
		s += fmt.Sprintf(" lease %d", kv.Lease)
	}
	return s
}
