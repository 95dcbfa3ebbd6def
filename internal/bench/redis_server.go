package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/httpkey/httpkey/redisstore"
)

var errNoRedis = errors.New("redis-server is not installed; " +
	"it is in the Debian package redis-server: apt-get install redis-server")

// redisServer is a redis-server of our own, and the calls of its clients.
type redisServer struct {
	address string
	version string
	command *exec.Cmd
	admin   *redis.Client // whose calls are not counted
	calls   redisCalls
}

// startRedis starts a server on a free port, which writes nothing to disk.
func startRedis() (*redisServer, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errNoRedis
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().(*net.TCPAddr)
	_ = listener.Close()
	var log bytes.Buffer
	command := exec.Command(program, "--bind", "127.0.0.1", "--port", strconv.Itoa(address.Port),
		"--save", "", "--appendonly", "no", "--dir", os.TempDir())
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		return nil, err
	}
	s := &redisServer{
		address: address.String(),
		command: command,
		admin:   redis.NewClient(&redis.Options{Addr: address.String(), MaxRetries: -1}),
	}
	for patience := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) { // until it is ready
		if s.version, err = s.info("server", "redis_version:"); err == nil {
			return s, nil
		}
		if time.Now().After(patience) {
			s.end()
			return nil, fmt.Errorf("redis-server does not answer: %w\n%s", err, &log)
		}
	}
}

func (s *redisServer) end() {
	_ = s.admin.Close()
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
}

// info returns the value of a name in a section of INFO, "" if the name is not there.
func (s *redisServer) info(section, name string) (string, error) {
	text, err := s.admin.Info(context.Background(), section).Result()
	if err != nil {
		return "", err
	}
	_, value, _ := strings.Cut(text, name)
	value, _, _ = strings.Cut(value, "\r\n")
	return value, nil
}

// scripts returns how many scripts the server has run. It does not count their calls.
func (s *redisServer) scripts() (int64, error) {
	stat, err := s.info("commandstats", "cmdstat_evalsha:calls=")
	if err != nil || stat == "" {
		return 0, err
	}
	calls, _, _ := strings.Cut(stat, ",")
	return strconv.ParseInt(calls, 10, 64)
}

// connect returns a client whose calls are counted.
func (s *redisServer) connect(o redis.Options) *redis.Client {
	o.Addr = s.address
	client := redis.NewClient(&o)
	client.AddHook(&s.calls)
	return client
}

// plain is a client as people make one.
var plain = redis.Options{}

// advised is a client as package redisstore asks for.
var advised = redis.Options{ContextTimeoutEnabled: true, MaxRetries: -1, DialTimeout: time.Second}

// store returns all tokens.
func (s *redisServer) store() *redisstore.Store { return redisstore.New(s.admin, nil) }
