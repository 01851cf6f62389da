// Package v3lockpb is etcd's lock service on the wire: names, numbers and types
// are etcd's, so that its clients work.
package v3lockpb
