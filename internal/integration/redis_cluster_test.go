package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisCluster has three masters and a replica of each.
type redisCluster struct {
	nodes []*redisServer
}

func startRedisCluster(t testing.TB) *redisCluster {
	t.Helper()
	c := &redisCluster{}
	var buses []int
	for i := range 6 {
		buses = append(buses, freePort(t))
		c.nodes = append(c.nodes, startRedis(t, "cluster-enabled yes", "cluster-node-timeout 1000",
			fmt.Sprint("cluster-port ", buses[i])))
	}
	for i, node := range c.nodes {
		node.must("CLUSTER", "SET-CONFIG-EPOCH", i+1)
	}
	first := c.nodes[0]
	for i, node := range c.nodes {
		if i < 3 {
			node.must("CLUSTER", "ADDSLOTSRANGE", i*16384/3, (i+1)*16384/3-1)
		}
		if i > 0 {
			node.must("CLUSTER", "MEET", "127.0.0.1", first.port, buses[0])
		}
	}
	for i, replica := range c.nodes[3:] {
		id, err := c.nodes[i].do(t.Context(), "CLUSTER", "MYID").Text()
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, func() error { return replica.do(t.Context(), "CLUSTER", "REPLICATE", id).Err() })
	}
	for _, node := range c.nodes {
		eventually(t, 20*time.Second, func() error { return c.whole(t.Context(), node) })
	}
	return c
}

// whole reports that node knows of all slots and of all replicas.
func (c *redisCluster) whole(ctx context.Context, node *redisServer) error {
	info, err := node.do(ctx, "CLUSTER", "INFO").Text()
	if err != nil {
		return err
	}
	nodes, err := node.do(ctx, "CLUSTER", "NODES").Text()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "cluster_state:ok") ||
		strings.Count(nodes, " slave ")+strings.Count(nodes, ",slave ") != 3 {
		return fmt.Errorf("the cluster is not whole:\n%s\n%s", info, nodes)
	}
	replication, err := node.do(ctx, "INFO", "replication").Text()
	if err == nil && strings.Contains(replication, "role:slave") &&
		!strings.Contains(replication, "master_link_status:up") {
		err = fmt.Errorf("a replica is not in step:\n%s", replication)
	}
	return err
}

func (c *redisCluster) addresses() (all []string) {
	for _, node := range c.nodes {
		all = append(all, node.address())
	}
	return all
}

// client returns a client with the other options that package redisstore advises.
func (c *redisCluster) client(t testing.TB, dial time.Duration) *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: c.addresses(), MaxRetries: -1, ContextTimeoutEnabled: true, DialTimeout: dial, DialerRetries: 1,
		ClusterStateReloadInterval: time.Second,
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// master returns the node that has the slot of key.
func (c *redisCluster) master(t testing.TB, client *redis.ClusterClient, key string) *redisServer {
	t.Helper()
	node, err := client.MasterForKey(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range c.nodes {
		if server.address() == node.Options().Addr {
			return server
		}
	}
	t.Fatalf("no node at %s", node.Options().Addr)
	return nil
}
