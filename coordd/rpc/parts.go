package rpc

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/coordd/coordd/kvcore"
)

const (
	// leastMaxParts is how many parts a request may have, however few operations
	// are allowed.
	leastMaxParts = 1 << 16
	// partsOfOp is what an operation that is allowed may count for: it nests.
	partsOfOp = 16
	// unboundedBytes is the size up to which requests are decoded uncounted.
	unboundedBytes = 64 << 10
)

// MaxParts is how many messages a request may consist of. An empty one takes two
// bytes on the wire and a hundred in memory, so they are counted before memory
// is spent on them.
func MaxParts(maxTxnOps int) int { return max(leastMaxParts, partsOfOp*maxTxnOps) }

// parts is how many more messages a transaction may consist of.
type parts int

// Fields of etcdserverpb.TxnRequest and RequestOp.
const (
	compareField = 1
	successField = 2
	failureField = 3
	opTxnField   = 4
)

// take counts a transaction's parts and those of the transactions in it. Data
// that is no transaction is the decoder's to refuse.
func (left *parts) take(txn []byte) error {
	return eachField(txn, func(field protowire.Number, part []byte) error {
		if field < compareField || field > failureField {
			return nil
		}
		if *left--; *left < 0 {
			return fmt.Errorf("%w: also counting those within others", kvcore.ErrTooManyOps)
		}
		if field == compareField {
			return nil
		}
		return eachField(part, func(field protowire.Number, op []byte) error {
			if field != opTxnField {
				return nil
			}
			return left.take(op)
		})
	})
}

// eachField calls do for each field that holds bytes, until the data end or are malformed.
func eachField(data []byte, do func(field protowire.Number, value []byte) error) error {
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return nil
		}
		data = data[n:]
		if n = protowire.ConsumeFieldValue(field, kind, data); n < 0 {
			return nil
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(data)
			if err := do(field, value); err != nil {
				return err
			}
		}
		data = data[n:]
	}
	return nil
}
