package recipes

// ServerEndpoint is the test store, for the examples of package recipes_test.
func ServerEndpoint() (string, error) { return stores["coordd"].start() }

// AddStore gives tests another store to run on. What stop does is done by StopStores.
func AddStore(name string, run func() (endpoint string, stop func(), err error)) {
	stores[name] = &store{run: run}
}

// StopStores stops what tests have started.
func StopStores() {
	for _, s := range stores {
		if s.stop != nil {
			s.stop()
		}
	}
}
