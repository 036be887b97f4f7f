package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// NodePath is where a node that serves describes itself, on its admin door.
const NodePath = "/node"

// Node is what a node that serves says of itself: enough to know its ports for what they are.
type Node struct {
	Product string            `json:"product"` // always [Product]
	Version string            `json:"version"`
	Addrs   map[string]string `json:"addrs"` // the addresses that it has opened, as configured, by key
}

// Product tells a node of ours from whatever else may answer on its address.
const Product = "banyan"

// nodeTime is for a node on this machine to answer. One that does not is taken for another program.
const nodeTime = 2 * time.Second

// findNode asks whether a node serves on the address that is configured for the admin door; nil if none answers.
func findNode(ctx context.Context, adminAddr string) *Node {
	host, port, err := net.SplitHostPort(adminAddr)
	if err != nil || port == "0" {
		return nil
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // it listens on all interfaces
	}
	ctx, cancel := context.WithTimeout(ctx, nodeTime)
	defer cancel()
	node, err := askNode(ctx, "http://"+net.JoinHostPort(host, port)+NodePath)
	if err != nil {
		return nil
	}
	return node
}

func askNode(ctx context.Context, url string) (*Node, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{} // of its own: a proxy in the environment is none for this machine
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	const most = 64 << 10
	var node Node
	if err := json.NewDecoder(io.LimitReader(response.Body, most)).Decode(&node); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK || node.Product != Product {
		return nil, fmt.Errorf("%s is answered by another program", url)
	}
	return &node, nil
}

// excuse turns the finding that the port of addr is taken into a good one where the node is who has it.
func (n *Node) excuse(addr, network string, f Finding) Finding {
	if n == nil || f.Status != Fail || !samePort(n.Addrs[f.Check], addr) {
		return f
	}
	return good(f.Check, "%s/%s is in use by a running Banyan, version %s", addr, network, n.Version)
}

func samePort(a, b string) bool {
	_, portA, errA := net.SplitHostPort(a)
	_, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB
}
