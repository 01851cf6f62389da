package coordpb

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// ErrMalformed says that bytes are no Batch, or hold a request of no known kind.
var ErrMalformed = errors.New("coordpb: malformed batch")

// Field numbers of Batch and Command.
const (
	batchOrigin   protowire.Number = 1
	batchSequence protowire.Number = 2
	batchCommands protowire.Number = 3

	commandKind    protowire.Number = 1
	commandRequest protowire.Number = 2
)

// AppendBatch appends the encoding of a whole Batch to dst. It fails with
// ErrMalformed where a request is of a type that no command carries.
func AppendBatch(dst []byte, origin, sequence uint64, reqs []proto.Message) ([]byte, error) {
	dst = AppendHeader(dst, origin, sequence)
	for _, req := range reqs {
		command, err := EncodeCommand(req)
		if err != nil {
			return nil, err
		}
		dst = append(dst, command...)
	}
	return dst, nil
}

// AppendHeader appends the fields of a Batch that come before its commands.
// What EncodeCommand returned for each command follows it directly.
func AppendHeader(dst []byte, origin, sequence uint64) []byte {
	dst = protowire.AppendTag(dst, batchOrigin, protowire.Fixed64Type)
	dst = protowire.AppendFixed64(dst, origin)
	dst = protowire.AppendTag(dst, batchSequence, protowire.VarintType)
	return protowire.AppendVarint(dst, sequence)
}

// EncodeCommand encodes a request as one element of Batch.commands, its tag
// included, so that a batch is put together by joining bytes.
func EncodeCommand(req proto.Message) ([]byte, error) {
	kind := kindOf(req)
	if kind == Kind_KIND_UNSPECIFIED {
		return nil, fmt.Errorf("%w: no command carries a %T", ErrMalformed, req)
	}
	size := proto.Size(req)
	inner := protowire.SizeTag(commandKind) + protowire.SizeVarint(uint64(kind)) +
		protowire.SizeTag(commandRequest) + protowire.SizeBytes(size)
	b := make([]byte, 0, protowire.SizeTag(batchCommands)+protowire.SizeBytes(inner))
	b = protowire.AppendTag(b, batchCommands, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	b = protowire.AppendTag(b, commandKind, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(kind))
	b = protowire.AppendTag(b, commandRequest, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	return proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, req)
}

// BatchID reads who proposed a batch without decoding its commands.
func BatchID(data []byte) (origin, sequence uint64, err error) {
	const originLen = 1 + 8
	if len(data) < originLen+2 ||
		data[0] != byte(protowire.EncodeTag(batchOrigin, protowire.Fixed64Type)) ||
		data[originLen] != byte(protowire.EncodeTag(batchSequence, protowire.VarintType)) {
		return 0, 0, fmt.Errorf("%w: no header", ErrMalformed)
	}
	sequence, n := protowire.ConsumeVarint(data[originLen+1:])
	if n < 0 {
		return 0, 0, fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
	}
	return binary.LittleEndian.Uint64(data[1:originLen]), sequence, nil
}

// DecodeBatch returns the requests of a batch in order. They may alias data.
func DecodeBatch(data []byte) ([]proto.Message, error) {
	var batch Batch
	if err := proto.Unmarshal(data, &batch); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	reqs := make([]proto.Message, len(batch.Commands))
	for i, command := range batch.Commands {
		req, err := DecodeCommand(command)
		if err != nil {
			return nil, err
		}
		reqs[i] = req
	}
	return reqs, nil
}

// OnBehalf wraps a request with the user who makes it and the revision of the
// users and roles that he was known at.
func OnBehalf(user string, authRevision uint64, req proto.Message) (*UserRequest, error) {
	kind := kindOf(req)
	if kind == Kind_KIND_UNSPECIFIED || kind == Kind_KIND_USER_REQUEST {
		return nil, fmt.Errorf("%w: no user's command carries a %T", ErrMalformed, req)
	}
	data, err := proto.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("coordpb: encode %s: %w", kind, err)
	}
	return &UserRequest{User: user, AuthRevision: authRevision, Command: &Command{Kind: kind, Request: data}}, nil
}

// DecodeCommand returns the request that a command holds. It may alias the
// command's bytes.
func DecodeCommand(command *Command) (proto.Message, error) {
	req := newRequest(command.GetKind())
	if req == nil {
		return nil, fmt.Errorf("%w: command of kind %d", ErrMalformed, command.GetKind())
	}
	if err := proto.Unmarshal(command.GetRequest(), req); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, command.GetKind(), err)
	}
	return req, nil
}

func kindOf(req proto.Message) Kind {
	switch req.(type) {
	case *etcdserverpb.PutRequest:
		return Kind_KIND_PUT
	case *etcdserverpb.DeleteRangeRequest:
		return Kind_KIND_DELETE_RANGE
	case *etcdserverpb.TxnRequest:
		return Kind_KIND_TXN
	case *etcdserverpb.CompactionRequest:
		return Kind_KIND_COMPACTION
	case *etcdserverpb.LeaseGrantRequest:
		return Kind_KIND_LEASE_GRANT
	case *etcdserverpb.LeaseRevokeRequest:
		return Kind_KIND_LEASE_REVOKE
	case *LeaseExpireRequest:
		return Kind_KIND_LEASE_EXPIRE
	case *LeaseCheckpointRequest:
		return Kind_KIND_LEASE_CHECKPOINT
	case *etcdserverpb.AlarmRequest:
		return Kind_KIND_ALARM
	case *UserRequest:
		return Kind_KIND_USER_REQUEST
	case *EpochRaiseRequest:
		return Kind_KIND_EPOCH_RAISE
	case *MemberPublishRequest:
		return Kind_KIND_MEMBER_PUBLISH
	case *etcdserverpb.MemberUpdateRequest:
		return Kind_KIND_MEMBER_UPDATE
	case *MemberAddRequest:
		return Kind_KIND_MEMBER_ADD
	case *etcdserverpb.MemberRemoveRequest:
		return Kind_KIND_MEMBER_REMOVE
	case *etcdserverpb.MemberPromoteRequest:
		return Kind_KIND_MEMBER_PROMOTE
	case *etcdserverpb.AuthEnableRequest:
		return Kind_KIND_AUTH_ENABLE
	case *etcdserverpb.AuthDisableRequest:
		return Kind_KIND_AUTH_DISABLE
	case *etcdserverpb.AuthUserAddRequest:
		return Kind_KIND_AUTH_USER_ADD
	case *etcdserverpb.AuthUserDeleteRequest:
		return Kind_KIND_AUTH_USER_DELETE
	case *etcdserverpb.AuthUserChangePasswordRequest:
		return Kind_KIND_AUTH_USER_CHANGE_PASSWORD
	case *etcdserverpb.AuthUserGrantRoleRequest:
		return Kind_KIND_AUTH_USER_GRANT_ROLE
	case *etcdserverpb.AuthUserRevokeRoleRequest:
		return Kind_KIND_AUTH_USER_REVOKE_ROLE
	case *etcdserverpb.AuthRoleAddRequest:
		return Kind_KIND_AUTH_ROLE_ADD
	case *etcdserverpb.AuthRoleDeleteRequest:
		return Kind_KIND_AUTH_ROLE_DELETE
	case *etcdserverpb.AuthRoleGrantPermissionRequest:
		return Kind_KIND_AUTH_ROLE_GRANT_PERMISSION
	case *etcdserverpb.AuthRoleRevokePermissionRequest:
		return Kind_KIND_AUTH_ROLE_REVOKE_PERMISSION
	case *TokenAssignRequest:
		return Kind_KIND_AUTH_TOKEN_ASSIGN
	default:
		return Kind_KIND_UNSPECIFIED
	}
}

func newRequest(kind Kind) proto.Message {
	switch kind {
	case Kind_KIND_PUT:
		return new(etcdserverpb.PutRequest)
	case Kind_KIND_DELETE_RANGE:
		return new(etcdserverpb.DeleteRangeRequest)
	case Kind_KIND_TXN:
		return new(etcdserverpb.TxnRequest)
	case Kind_KIND_COMPACTION:
		return new(etcdserverpb.CompactionRequest)
	case Kind_KIND_LEASE_GRANT:
		return new(etcdserverpb.LeaseGrantRequest)
	case Kind_KIND_LEASE_REVOKE:
		return new(etcdserverpb.LeaseRevokeRequest)
	case Kind_KIND_LEASE_EXPIRE:
		return new(LeaseExpireRequest)
	case Kind_KIND_LEASE_CHECKPOINT:
		return new(LeaseCheckpointRequest)
	case Kind_KIND_ALARM:
		return new(etcdserverpb.AlarmRequest)
	case Kind_KIND_USER_REQUEST:
		return new(UserRequest)
	case Kind_KIND_EPOCH_RAISE:
		return new(EpochRaiseRequest)
	case Kind_KIND_MEMBER_PUBLISH:
		return new(MemberPublishRequest)
	case Kind_KIND_MEMBER_UPDATE:
		return new(etcdserverpb.MemberUpdateRequest)
	case Kind_KIND_MEMBER_ADD:
		return new(MemberAddRequest)
	case Kind_KIND_MEMBER_REMOVE:
		return new(etcdserverpb.MemberRemoveRequest)
	case Kind_KIND_MEMBER_PROMOTE:
		return new(etcdserverpb.MemberPromoteRequest)
	case Kind_KIND_AUTH_ENABLE:
		return new(etcdserverpb.AuthEnableRequest)
	case Kind_KIND_AUTH_DISABLE:
		return new(etcdserverpb.AuthDisableRequest)
	case Kind_KIND_AUTH_USER_ADD:
		return new(etcdserverpb.AuthUserAddRequest)
	case Kind_KIND_AUTH_USER_DELETE:
		return new(etcdserverpb.AuthUserDeleteRequest)
	case Kind_KIND_AUTH_USER_CHANGE_PASSWORD:
		return new(etcdserverpb.AuthUserChangePasswordRequest)
	case Kind_KIND_AUTH_USER_GRANT_ROLE:
		return new(etcdserverpb.AuthUserGrantRoleRequest)
	case Kind_KIND_AUTH_USER_REVOKE_ROLE:
		return new(etcdserverpb.AuthUserRevokeRoleRequest)
	case Kind_KIND_AUTH_ROLE_ADD:
		return new(etcdserverpb.AuthRoleAddRequest)
	case Kind_KIND_AUTH_ROLE_DELETE:
		return new(etcdserverpb.AuthRoleDeleteRequest)
	case Kind_KIND_AUTH_ROLE_GRANT_PERMISSION:
		return new(etcdserverpb.AuthRoleGrantPermissionRequest)
	case Kind_KIND_AUTH_ROLE_REVOKE_PERMISSION:
		return new(etcdserverpb.AuthRoleRevokePermissionRequest)
	case Kind_KIND_AUTH_TOKEN_ASSIGN:
		return new(TokenAssignRequest)
	default:
		return nil
	}
}
