// Command banyan is the whole of Banyan in one binary.
//
//	banyan serve     run the server
//	banyan token     print a token that lets its holder publish, play or use the API
//	banyan doctor    check this machine, and say what to do about what is wrong
//	banyan config    print every setting with its meaning, default and present value
//	banyan version   print the version
//	banyan bench     measure what viewers cost this server, or any other
//	banyan simulate  try the tree with thousands of simulated nodes and millions of viewers
//
// main turns signals into a cancelled context and calls run, as tests do. run parses the command line and calls one
// of the commands; each is a function of a context, a configuration and two writers. Standard output has what was
// asked for and nothing else, so that it can be piped; logs and errors go to standard error.
//
// serve.go is where the parts come together, in the order in which they start, and where they end in reverse. The
// parts themselves know nothing of each other beyond what their imports show.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once, for those who will not wait
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "banyan: %v\n", err)
		os.Exit(1)
	}
}
