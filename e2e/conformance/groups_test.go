package conformance

// groups are all the bodies, by what they need of a cluster.
var groups = []*group{
	{name: "kv", bodies: slicesOf(putBodies, rangeBodies, deleteBodies, txnBodies, compactBodies)},
	{name: "watch", bodies: watchBodies},
	{name: "lease", bodies: leaseBodies},
	{name: "maintenance", bodies: maintenanceBodies},
	{name: "quota", flags: []string{"--quota-backend-bytes", "16777216"}, bodies: quotaBodies},
	{name: "cluster", size: 3, bodies: clusterBodies},
	{name: "auth", bodies: authBodies},
	{name: "lock", bodies: lockBodies},
	{name: "learner", bodies: learnerBodies},
	{name: "no leader", size: 3, bodies: leaderlessBodies},
	{name: "limits", flags: []string{"--max-txn-ops", "4", "--max-request-bytes", "65536"}, bodies: limitedBodies},
	{name: "progress", flags: []string{"--watch-progress-notify-interval", "200ms"}, bodies: notifiedBodies},
	{name: "auto-compaction", flags: []string{"--auto-compaction-retention", "1s"}, bodies: compactedBodies},
	{name: "gateway", bodies: gatewayBodies},
	{name: "health", bodies: healthBodies},
}

func slicesOf(all ...[]body) []body {
	var joined []body
	for _, bodies := range all {
		joined = append(joined, bodies...)
	}
	return joined
}
