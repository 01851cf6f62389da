// Uses the etcd3 package as its own documentation does, and fails on a wrong answer.
'use strict';

const assert = require('node:assert');
const { once } = require('node:events');
const { Etcd3 } = require('etcd3');

async function keys(client) {
  await client.put('js/a').value('1');
  await client.put('js/b').value('2');
  assert.strictEqual(await client.get('js/a').string(), '1');
  assert.strictEqual(await client.get('js/none').string(), null);
  assert.deepStrictEqual(await client.getAll().prefix('js/').strings(), { 'js/a': '1', 'js/b': '2' });
  assert.deepStrictEqual(await client.getAll().prefix('js/').sort('Key', 'Descend').limit(1).keys(), ['js/b']);
  await client.delete().key('js/a');
  assert.strictEqual(await client.get('js/a').string(), null);
}

async function transactions(client) {
  const attempt = () => client
    .if('js/b', 'Value', '==', '2')
    .then(client.put('js/b').value('3'))
    .else(client.get('js/b'))
    .commit();
  assert.strictEqual((await attempt()).succeeded, true);
  const second = await attempt();
  assert.strictEqual(second.succeeded, false);
  assert.strictEqual(second.responses[0].response_range.kvs[0].value.toString(), '3');
}

async function watches(client) {
  const watcher = await client.watch().key('js/w').create();
  const seen = once(watcher, 'put');
  await client.put('js/w').value('seen');
  const [kv] = await seen;
  assert.strictEqual(kv.value.toString(), 'seen');
  await watcher.cancel();
}

async function leases(client) {
  const lease = client.lease(10);
  await lease.put('js/leased').value('1');
  assert.strictEqual(await client.get('js/leased').string(), '1');
  await lease.revoke();
  assert.strictEqual(await client.get('js/leased').string(), null);
}

async function locks(client) {
  const order = [];
  await client.lock('js/lock').do(async () => {
    order.push('first');
    await assert.rejects(client.lock('js/lock').acquire());
  });
  await client.lock('js/lock').do(async () => order.push('second'));
  assert.deepStrictEqual(order, ['first', 'second']);
}

async function elections(client) {
  const election = client.election('js/election', 10);
  const campaign = election.campaign('candidate');
  await once(campaign, 'elected');
  assert.strictEqual(await election.leader(), 'candidate');
  await campaign.resign();
}

async function main() {
  const client = new Etcd3({ hosts: process.env.ENDPOINT });
  try {
    for (const part of [keys, transactions, watches, leases, locks, elections]) {
      await part(client);
      console.log(`ok ${part.name}`);
    }
  } finally {
    client.close();
  }
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
