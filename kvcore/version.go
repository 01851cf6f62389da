package kvcore

import "github.com/coordd/coordd/kvcore/backend"

// StorageVersion is the etcd release whose file layout the backend has. etcd's
// tools look for it, in these places, in a store and in a snapshot.
const StorageVersion = "3.7.0"

var versions = []struct {
	bucket backend.Bucket
	key    []byte
}{
	{backend.Meta, []byte("storageVersion")},
	{backend.Cluster, []byte("clusterVersion")},
}

// markVersion queues the versions that a backend does not hold as yet.
func (s *Store) markVersion(b backend.Backend) {
	r := b.Reader()
	if r == nil {
		return
	}
	defer r.Release()
	for _, v := range versions {
		if string(r.Get(v.bucket, v.key)) != StorageVersion {
			s.queue(change{v.bucket, v.key, []byte(StorageVersion)})
		}
	}
}
