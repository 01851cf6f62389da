package kvcore

import (
	"fmt"
	"maps"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Validate says what is wrong with a request by itself, whatever the state of
// the store: an empty key, options that exclude each other, an unknown sort, a
// transaction with more than maxTxnOps operations or one that changes a key
// twice. The bound counts the longest of a transaction's three lists; those of a
// nested one may be as long as what its parents leave. Requests of other types
// are fine.
func Validate(req proto.Message, maxTxnOps int) error {
	switch r := req.(type) {
	case *pb.RangeRequest:
		return validateRange(r)
	case *pb.PutRequest:
		return validatePut(r)
	case *pb.DeleteRangeRequest:
		return checkDelete(r)
	case *pb.TxnRequest:
		if err := validateTxn(r, maxTxnOps); err != nil {
			return err
		}
		for _, ops := range [...][]*pb.RequestOp{r.Success, r.Failure} {
			if _, err := changesOf(ops); err != nil {
				return err
			}
		}
	}
	return nil
}

func validateRange(r *pb.RangeRequest) error {
	if len(r.GetKey()) == 0 {
		return ErrEmptyKey
	}
	_, order := pb.RangeRequest_SortOrder_name[int32(r.SortOrder)]
	_, target := pb.RangeRequest_SortTarget_name[int32(r.SortTarget)]
	if !order || !target {
		return ErrInvalidSort
	}
	return nil
}

func validatePut(r *pb.PutRequest) error {
	switch {
	case len(r.GetKey()) == 0:
		return ErrEmptyKey
	case r.IgnoreValue && len(r.Value) != 0:
		return ErrValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return ErrLeaseProvided
	}
	return nil
}

func validateTxn(r *pb.TxnRequest, maxOps int) error {
	if r == nil {
		return ErrMalformed
	}
	n := max(len(r.Compare), len(r.Success), len(r.Failure))
	if n > maxOps {
		return ErrTooManyOps
	}
	for _, c := range r.Compare {
		if len(c.GetKey()) == 0 {
			return ErrEmptyKey
		}
	}
	for _, ops := range [...][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if err := validateOp(op, maxOps-n); err != nil {
				return err
			}
		}
	}
	return nil
}

func validateOp(op *pb.RequestOp, maxOps int) error {
	switch {
	case op.GetRequestRange() != nil:
		return validateRange(op.GetRequestRange())
	case op.GetRequestPut() != nil:
		return validatePut(op.GetRequestPut())
	case op.GetRequestDeleteRange() != nil:
		return checkDelete(op.GetRequestDeleteRange())
	case op.GetRequestTxn() != nil:
		return validateTxn(op.GetRequestTxn(), maxOps)
	default:
		// etcd's answer to an operation that is none.
		return fmt.Errorf("%w: empty operation", ErrKeyNotFound)
	}
}

// changes are the keys that one branch of a transaction, with all that is
// nested in it, puts and deletes.
type changes struct {
	puts    map[string]struct{}
	deletes []*pb.DeleteRangeRequest
	deleted intervals[struct{}] // those of deletes
}

func (c *changes) addDelete(d *pb.DeleteRangeRequest) {
	c.deletes = append(c.deletes, d)
	start, end, some := rangeOf(d.Key, d.RangeEnd)
	// etcd does not see that a range without an end overlaps anything, and
	// clients may put keys beside such a deletion.
	if some && end != "" {
		c.deleted.insert(start, end, uint64(len(c.deletes)), struct{}{})
	}
}

// rangeOf returns the half-open range that a request names by key and range end,
// in which an empty end is no bound. It is false if no key can be in it.
func rangeOf(key, rangeEnd []byte) (start, end string, some bool) {
	start, end = string(key), string(rangeEnd)
	switch end {
	case "":
		return start, start + "\x00", true
	case "\x00":
		return start, "", true
	}
	return start, end, start < end
}

// changesOf collects the changes of a list of operations, or returns
// ErrDuplicateKey where a key that is put would be changed twice. The two
// branches of a nested transaction exclude each other and may put the same key.
// Deleting a key twice is allowed.
func changesOf(ops []*pb.RequestOp) (*changes, error) {
	all := &changes{puts: map[string]struct{}{}}
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			all.addDelete(d)
		}
	}
	for _, op := range ops {
		if t := op.GetRequestTxn(); t != nil {
			if err := all.addNested(t); err != nil {
				return nil, err
			}
		}
	}
	for _, op := range ops {
		if put := op.GetRequestPut(); put != nil {
			if err := all.addPut(string(put.Key)); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func (c *changes) addPut(key string) error {
	if _, twice := c.puts[key]; twice || c.deletesKey(key) {
		return ErrDuplicateKey
	}
	c.puts[key] = struct{}{}
	return nil
}

func (c *changes) deletesKey(key string) (found bool) {
	c.deleted.stab([]byte(key), func(struct{}) { found = true })
	return found
}

func (c *changes) addNested(t *pb.TxnRequest) error {
	nested, err := changesOf(t.Success)
	if err != nil {
		return err
	}
	failure, err := changesOf(t.Failure)
	if err != nil {
		return err
	}
	nested.join(failure)
	few, many := c.puts, nested.puts
	if len(few) > len(many) {
		few, many = many, few
	}
	for key := range few {
		if _, twice := many[key]; twice {
			return ErrDuplicateKey
		}
	}
	if len(c.deletes) > 0 {
		for key := range nested.puts {
			if c.deletesKey(key) {
				return ErrDuplicateKey
			}
		}
	}
	c.join(nested)
	return nil
}

// join adds the changes of o, which is of no use then: always few to many, since
// transactions nest deep.
func (c *changes) join(o *changes) {
	if len(c.puts) < len(o.puts) {
		c.puts, o.puts = o.puts, c.puts
	}
	maps.Copy(c.puts, o.puts)
	if len(c.deletes) < len(o.deletes) {
		c.deletes, o.deletes = o.deletes, c.deletes
		c.deleted, o.deleted = o.deleted, c.deleted
	}
	for _, d := range o.deletes {
		c.addDelete(d)
	}
}
