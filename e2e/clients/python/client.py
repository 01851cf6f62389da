"""Uses Debian's python3-etcd3 as its own documentation does, and fails on a wrong answer."""

import os
import queue
import tempfile

import etcd3


def keys(client):
    client.put("py/a", "1")
    client.put("py/b", "2")
    value, meta = client.get("py/a")
    assert value == b"1" and meta.key == b"py/a" and meta.version == 1, (value, meta)
    assert client.get("py/none") == (None, None)
    found = [(value, meta.key) for value, meta in client.get_prefix("py/", sort_order="descend")]
    assert found == [(b"2", b"py/b"), (b"1", b"py/a")], found
    assert client.replace("py/a", "1", "one") and not client.replace("py/a", "1", "uno")
    assert client.put_if_not_exists("py/c", "3") and not client.put_if_not_exists("py/c", "4")
    assert client.delete("py/a") and not client.delete("py/a")
    assert client.delete_prefix("py/").deleted == 2


def transactions(client):
    ok, responses = client.transaction(
        compare=[client.transactions.version("py/t") == 0],
        success=[client.transactions.put("py/t", "new"), client.transactions.get("py/t")],
        failure=[],
    )
    assert ok and responses[1][0][0] == b"new", responses


def watches(client):
    seen = queue.Queue()
    watch = client.add_watch_callback("py/w", seen.put)
    client.put("py/w", "1")
    client.delete("py/w")
    events = []
    while len(events) < 2:
        events += seen.get(timeout=10).events
    assert [type(e).__name__ for e in events] == ["PutEvent", "DeleteEvent"], events
    client.cancel_watch(watch)


def leases(client):
    lease = client.lease(10)
    client.put("py/leased", "1", lease=lease)
    assert lease.granted_ttl == 10 and lease.keys == [b"py/leased"], lease.keys
    assert [r.TTL for r in lease.refresh()] == [10]
    lease.revoke()
    assert client.get("py/leased") == (None, None)


def locks(client):
    with client.lock("py/lock", ttl=10) as lock:
        assert lock.is_acquired()
        # A second acquire is not tried: the package's way to wait does not fit the
        # tenacity that Debian has beside it.
    assert client.lock("py/lock", ttl=10).acquire(timeout=10)


def maintenance(client):
    assert [m.name for m in client.members] == ["n1"]
    status = client.status()
    assert status.version == "3.7.3" and status.leader.name == "n1", status
    assert list(client.list_alarms()) == []
    with tempfile.TemporaryFile() as f:
        client.snapshot(f)
        assert f.tell() > 16384, f.tell()
    client.defragment()
    client.hash()
    client.compact(client.get("py/t")[1].mod_revision)


def main():
    host, port = os.environ["ENDPOINT"].removeprefix("http://").split(":")
    client = etcd3.client(host=host, port=int(port), timeout=10)
    for part in (keys, transactions, watches, leases, locks, maintenance):
        part(client)
        print("ok", part.__name__)


main()
