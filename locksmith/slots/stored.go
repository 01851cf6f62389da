package slots

import (
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

// decodeJSON reads what putJSON wrote.
func decodeJSON(kv *mvccpb.KeyValue, value any) error {
	if err := json.Unmarshal(kv.Value, value); err != nil {
		return fmt.Errorf("slots: decode %q: %w", kv.Key, err)
	}
	return nil
}
