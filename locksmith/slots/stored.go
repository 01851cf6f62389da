package slots

import (
	"bytes"
	"encoding/json"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// putJSON writes a value in its stored form.
func putJSON(key string, value any, opts ...clientv3.OpOption) (clientv3.Op, error) {
	b, err := json.Marshal(value)
	if err != nil {
		return clientv3.Op{}, fmt.Errorf("slots: encode %q: %w", key, err)
	}
	return clientv3.OpPut(key, string(b), opts...), nil
}

// decodeJSON reads what putJSON wrote. An error is a [*DamagedError].
func decodeJSON(kv *mvccpb.KeyValue, value any) error {
	if err := json.Unmarshal(kv.Value, value); err != nil {
		return damaged(kv, err)
	}
	return nil
}

// decodePolicy is decodeJSON that refuses what it does not know: a limit of a newer
// version is not there to be passed over, nor to be lost when the policy is written.
func decodePolicy(kv *mvccpb.KeyValue, p *Policy, validate func(*Policy) error) error {
	if err := decodeJSON(kv, new(Policy)); err != nil { // all of it, and nothing behind it
		return err
	}
	d := json.NewDecoder(bytes.NewReader(kv.Value))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return damaged(kv, fmt.Errorf("%w: a newer version may have written it", err))
	}
	if err := validate(p); err != nil {
		return damaged(kv, err)
	}
	return nil
}

func damaged(kv *mvccpb.KeyValue, err error) *DamagedError {
	return &DamagedError{Key: string(kv.Key), Why: err.Error(), err: err}
}
