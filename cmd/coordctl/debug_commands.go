package main

import (
	"fmt"
	"strings"

	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// describeEntry says what a log entry does, command by command.
func describeEntry(e *raftpb.Entry) []string {
	switch e.GetType() {
	case raftpb.EntryConfChange:
		var change raftpb.ConfChange
		if err := proto.Unmarshal(e.GetData(), &change); err != nil {
			return []string{fmt.Sprintf("no change of the configuration: %v", err)}
		}
		return append(describeChanges(change.AsV2()), describeBatch(change.GetContext())...)
	case raftpb.EntryConfChangeV2:
		var change raftpb.ConfChangeV2
		if err := proto.Unmarshal(e.GetData(), &change); err != nil {
			return []string{fmt.Sprintf("no change of the configuration: %v", err)}
		}
		return append(describeChanges(&change), describeBatch(change.GetContext())...)
	}
	if len(e.GetData()) == 0 {
		return []string{"nothing: a leader's first entry"}
	}
	return describeBatch(e.GetData())
}

func describeChanges(change *raftpb.ConfChangeV2) []string {
	var list []string
	for _, c := range change.GetChanges() {
		what := map[raftpb.ConfChangeType]string{
			raftpb.ConfChangeAddNode:        "voter",
			raftpb.ConfChangeRemoveNode:     "no member any more",
			raftpb.ConfChangeAddLearnerNode: "learner",
			raftpb.ConfChangeUpdateNode:     "updated",
		}[c.GetType()]
		list = append(list, fmt.Sprintf("%s becomes %s", hexID(c.GetNodeId()), what))
	}
	return list
}

func describeBatch(data []byte) []string {
	if len(data) == 0 {
		return nil
	}
	requests, err := coordpb.DecodeBatch(data)
	if err != nil {
		return []string{fmt.Sprintf("not decodable: %v", err)}
	}
	list := make([]string, len(requests))
	for i, r := range requests {
		list[i] = describeRequest(r)
	}
	return list
}

// describeRequest names what a request is about; values are told by their size, and passwords not at all.
func describeRequest(request proto.Message) string {
	switch r := request.(type) {
	case *pb.PutRequest:
		text := fmt.Sprintf("put %s, %d bytes", shortened(r.Key), len(r.Value))
		if r.Lease != 0 {
			text += fmt.Sprintf(", lease %016x", r.Lease)
		}
		return text
	case *pb.DeleteRangeRequest:
		return "delete " + describeRange(r.Key, r.RangeEnd)
	case *pb.RangeRequest:
		return "range " + describeRange(r.Key, r.RangeEnd)
	case *pb.TxnRequest:
		return describeTxn(r)
	case *coordpb.UserRequest:
		inner, err := coordpb.DecodeCommand(r.GetCommand())
		if err != nil {
			return fmt.Sprintf("by %s: not decodable: %v", r.User, err)
		}
		return fmt.Sprintf("by %s: %s", r.User, describeRequest(inner))
	}
	return describeFields(request.ProtoReflect())
}

func describeRange(from, to []byte) string {
	switch {
	case len(to) == 0:
		return shortened(from)
	case len(to) == 1 && to[0] == 0:
		return shortened(from) + " and all behind"
	}
	return shortened(from) + " to " + shortened(to)
}

func describeTxn(r *pb.TxnRequest) string {
	branch := func(ops []*pb.RequestOp) string {
		list := make([]string, len(ops))
		for i, op := range ops {
			switch op := op.GetRequest().(type) {
			case *pb.RequestOp_RequestPut:
				list[i] = describeRequest(op.RequestPut)
			case *pb.RequestOp_RequestDeleteRange:
				list[i] = describeRequest(op.RequestDeleteRange)
			case *pb.RequestOp_RequestRange:
				list[i] = describeRequest(op.RequestRange)
			case *pb.RequestOp_RequestTxn:
				list[i] = describeTxn(op.RequestTxn)
			}
		}
		return "{" + strings.Join(list, ", ") + "}"
	}
	return fmt.Sprintf("txn of %d compares %s else %s", len(r.Compare), branch(r.Success), branch(r.Failure))
}

// describeFields writes any other message: its name, and its fields but for passwords.
func describeFields(m protoreflect.Message) string {
	text := strings.TrimSuffix(string(m.Descriptor().Name()), "Request")
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) || strings.Contains(strings.ToLower(string(f.Name())), "password") {
			continue
		}
		text += fmt.Sprintf(" %s=%s", f.Name(), describeValue(f, m.Get(f)))
	}
	return text
}

func describeValue(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch {
	case f.IsList() && f.Message() != nil:
		list := make([]string, v.List().Len())
		for i := range list {
			list[i] = describeFields(v.List().Get(i).Message())
		}
		return "[" + strings.Join(list, ", ") + "]"
	case f.IsList():
		list := make([]string, v.List().Len())
		for i := range list {
			list[i] = v.List().Get(i).String()
		}
		return "[" + strings.Join(list, " ") + "]"
	case f.Message() != nil:
		return "(" + describeFields(v.Message()) + ")"
	case f.Kind() == protoreflect.BytesKind:
		return shortened(v.Bytes())
	case f.Kind() == protoreflect.EnumKind:
		if value := f.Enum().Values().ByNumber(v.Enum()); value != nil {
			return string(value.Name())
		}
	case strings.HasSuffix(strings.ToLower(string(f.Name())), "id"):
		if f.Kind() == protoreflect.Uint64Kind {
			return hexID(v.Uint())
		}
		if f.Kind() == protoreflect.Int64Kind {
			return fmt.Sprintf("%016x", v.Int())
		}
	}
	return v.String()
}
