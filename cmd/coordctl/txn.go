package main

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

func newTxnCommand(s *session) *cobra.Command {
	var interactive bool
	cmd := &cobra.Command{
		Use:   "txn",
		Short: "Run several operations as one transaction",
		Long: `Read a transaction from standard input and run it, all of it or nothing.

It has three blocks, each ended by an empty line, also the last:
  1. comparisons           target("key") operator "value"
     target is create, mod, ver, val or lease (a lease ID in hexadecimal); the operator is =, !=, < or >
  2. what to do if all of them hold        get, put and del with their arguments and flags
  3. what to do if not

A word with spaces stands in quotes: "…" with Go's escapes, or '…' as it is.`,
		Example: `  coordctl txn <<END
  mod("greeting") = "0"

  put greeting "hello, world"

  get greeting

  END`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return badArguments("txn takes no arguments; the transaction comes from standard input")
			}
			p, err := s.printer(cmd, txnResult{})
			if err != nil {
				return err
			}
			prompt := io.Discard
			if interactive {
				prompt = cmd.OutOrStdout()
			}
			script := &txnScript{in: bufio.NewReader(cmd.InOrStdin())}
			if err := script.read(prompt); err != nil {
				return err
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.Txn(ctx).If(script.compares...).Then(script.success...).Else(script.failure...).Commit()
				if err != nil {
					return clientv3.ContextError(ctx, err)
				}
				return p.print(txnResult{(*pb.TxnResponse)(resp)})
			})
		},
	}
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "name each block before it is read")
	return cmd
}

type txnResult struct{ *pb.TxnResponse }

// responses returns the answers of the transaction's operations. txn sends no nested transactions, so none comes back.
func (r txnResult) responses() []result {
	results := make([]result, 0, len(r.GetResponses()))
	for _, op := range r.GetResponses() {
		switch op := op.GetResponse().(type) {
		case *pb.ResponseOp_ResponseRange:
			results = append(results, rangeResult{RangeResponse: op.ResponseRange})
		case *pb.ResponseOp_ResponsePut:
			results = append(results, putResult{op.ResponsePut})
		case *pb.ResponseOp_ResponseDeleteRange:
			results = append(results, deleteResult{op.ResponseDeleteRange})
		}
	}
	return results
}

func (r txnResult) simple(t *text) {
	if r.GetSucceeded() {
		t.line("SUCCESS")
	} else {
		t.line("FAILURE")
	}
	for _, op := range r.responses() {
		t.line("")
		op.simple(t)
	}
}

func (r txnResult) fields(t *text) {
	t.header(r.GetHeader())
	t.field("Succeeded", r.GetSucceeded())
	for _, op := range r.responses() {
		op.fields(t)
	}
}

func (r txnResult) message() proto.Message { return r.TxnResponse }

func (r txnResult) value(hexIDs bool) any {
	type response struct {
		Response map[string]any
	}
	answer := struct {
		Header    *pb.ResponseHeader `json:"header,omitempty"`
		Succeeded bool               `json:"succeeded,omitempty"`
		Responses []response         `json:"responses,omitempty"`
	}{Header: r.GetHeader(), Succeeded: r.GetSucceeded()}
	for _, op := range r.responses() {
		var name string
		switch op := op.(type) {
		case rangeResult:
			name = "response_range"
		case putResult:
			name = "response_put"
		case deleteResult:
			name = "response_delete_range"
		default:
			panic(fmt.Sprintf("coordctl: transaction answer of type %T", op))
		}
		answer.Responses = append(answer.Responses, response{map[string]any{name: op.value(hexIDs)}})
	}
	return answer
}
