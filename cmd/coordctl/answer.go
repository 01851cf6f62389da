package main

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// answer is the result of a change that has nothing to tell but that it was made.
type answer struct {
	response interface {
		proto.Message
		GetHeader() *pb.ResponseHeader
	}
	done string // a line of simple output
}

func (a answer) simple(t *text)         { t.line(a.done) }
func (a answer) fields(t *text)         { t.header(a.response.GetHeader()) }
func (a answer) value(bool) any         { return a.response }
func (a answer) message() proto.Message { return a.response }

// statement is an answer that etcdctl gives in every format as its line of simple output.
type statement struct{ answer }

func (statement) isSentence() {}
