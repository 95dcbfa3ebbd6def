package integration

import (
	"os"
	"strconv"
	"testing"
)

// startGalera starts two servers that replicate each other's writes. A wait for a lock
// sometimes lasts until its timeout there, which is 50 s by default.
func startGalera(t testing.TB) *sqlBackend {
	t.Helper()
	const provider = "/usr/lib/galera/libgalera_smm.so"
	if _, err := os.Stat(provider); err != nil {
		missing(t, provider, "galera-4")
	}
	tool(t, "rsync", "rsync") // the second server copies the data of the first with it
	address := func() string { return "127.0.0.1:" + strconv.Itoa(freePort(t)) }
	start := func(listen, cluster string, options ...string) *sqlBackend {
		return startMariaDB(t, append(options, "--innodb-flush-log-at-trx-commit=0", "--binlog-format=ROW",
			"--innodb-autoinc-lock-mode=2", "--innodb-lock-wait-timeout=2", "--wsrep-on=ON", "--wsrep-provider="+provider,
			"--wsrep-sst-method=rsync", "--wsrep-sst-receive-address="+address(),
			"--wsrep-node-address=127.0.0.1", "--wsrep-cluster-address=gcomm://"+cluster,
			"--wsrep-provider-options=gmcast.listen_addr=tcp://"+listen+";ist.recv_addr="+address())...)
	}
	first := address()
	b := start(first, "", "--wsrep-new-cluster")
	b.nodes = []string{b.server.address(), start(address(), first).server.address()}
	b.options = "&wsrep_sync_wait=15" // otherwise a read may miss a write that the other server has acknowledged
	return b
}
