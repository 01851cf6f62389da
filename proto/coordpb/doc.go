// Package coordpb holds the messages that are coordd's own: what stands in the
// replicated log beside etcd's request messages, and what members say to each
// other. The etcd v3 messages themselves come from go.etcd.io/etcd/api/v3.
package coordpb
