// Package v3electionpb is etcd's election service on the wire: names, numbers
// and types are etcd's, so that its clients work.
package v3electionpb
