// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cluster starts, watches and stops the components of one control
// plane, in this process or in one process each.
package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Components of a control plane.
const (
	ComponentsAll       = "all"
	ComponentsAPIServer = "apiserver"
)

// Options are the flags of the program.
type Options struct {
	Kubeconfig             string
	DataDir                string
	Keep                   bool
	Log                    string
	Components             string
	Nodes                  int
	Listen                 string
	Port                   int
	StopOnStdinEOF         bool
	Control                bool
	Audit                  string
	APIServerFlags         []string
	ControllerManagerFlags []string
	SchedulerFlags         []string
	FeatureGates           string
	RealDelays             bool
	Split                  bool
	Verbosity              int
	ReadyTimeout           time.Duration
}

// maxNodes keeps one fake node's pod range within 10.88.0.0/16.
const maxNodes = 256

func (o *Options) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("controlplane", pflag.ContinueOnError)
	f.SortFlags = false
	f.SetOutput(io.Discard)
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "write an administrator's kubeconfig to this `file`, removed at the end (default: in the data directory)")
	f.StringVar(&o.DataDir, "data-dir", "", "keep data in this `directory` (default: a new temporary one); what this program put there is removed at the end")
	f.BoolVar(&o.Keep, "keep", false, "do not remove the data at the end")
	f.StringVar(&o.Log, "log", "", "write the log to this `file`, which stays (default: in the data directory)")
	f.StringVar(&o.Components, "components", ComponentsAll, "`all`, or apiserver for etcd and kube-apiserver only")
	f.IntVar(&o.Nodes, "nodes", 2, "how many nodes the fake kubelet registers")
	f.StringVar(&o.Listen, "listen", "127.0.0.1", "loopback `address` of the API server")
	f.IntVar(&o.Port, "port", 0, "port of the API server; 0 is a free one")
	f.BoolVar(&o.StopOnStdinEOF, "stop-on-stdin-eof", false, "stop when standard input ends")
	f.BoolVar(&o.Control, "control", false, "read commands from standard input, see below; implies --stop-on-stdin-eof")
	f.StringVar(&o.Audit, "audit", "", "append an audit event with bodies for every request to this `file`, as JSON lines")
	f.StringArrayVar(&o.APIServerFlags, "apiserver-flag", nil, "a further `flag` of kube-apiserver; repeatable")
	f.StringArrayVar(&o.ControllerManagerFlags, "controller-manager-flag", nil, "a further `flag` of kube-controller-manager; repeatable")
	f.StringArrayVar(&o.SchedulerFlags, "scheduler-flag", nil, "a further `flag` of kube-scheduler; repeatable")
	f.StringVar(&o.FeatureGates, "feature-gates", "", "Kubernetes feature `gates` of all components, such as A=true,B=false")
	f.BoolVar(&o.RealDelays, "real-delays", false, "delete namespaces and collect garbage with the delays of a production cluster")
	f.BoolVar(&o.Split, "split", false, "run every component in a process of its own")
	f.DurationVar(&o.ReadyTimeout, "ready-timeout", readyLimit, "give up a start that takes longer than this `duration`")
	f.IntVarP(&o.Verbosity, "v", "v", 0, "log verbosity of the Kubernetes components")
	return f
}

// Usage describes the flags and the control commands.
func Usage() string {
	var o Options
	return "Usage: controlplane [flags]\n\nRuns etcd, kube-apiserver, kube-controller-manager, kube-scheduler and a fake kubelet.\n" +
		"Prints one line when ready: READY server=URL kubeconfig=FILE pid=N after=SECONDS\n" +
		"or, with --control, when it fails: FAILED {\"reason\":…,\"component\":…,\"message\":…}\n\n" +
		"Also: controlplane etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubectl [flags of that program]\n" +
		"      controlplane assets DIR   link DIR/etcd, DIR/kube-apiserver, … to this program\n" +
		"      controlplane version\n\nFlags:\n" + o.flags().FlagUsages() + `
Commands on standard input with --control, one a line, each answered by a line "OK COMMAND" or "ERR COMMAND: REASON":
  stop-apiserver    end the API server; its port, data and certificates stay
  start-apiserver   start it again; answers when it is ready
  pause COMPONENT   stop a component's process by signal (--split only)
  resume COMPONENT
  compact           drop etcd's history, so that old watches and lists get 410
`
}

// Parse reads the flags.
func Parse(args []string) (Options, error) {
	var o Options
	f := o.flags()
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.StopOnStdinEOF = o.StopOnStdinEOF || o.Control
	return o, o.complete()
}

func (o *Options) complete() error {
	if o.Components != ComponentsAll && o.Components != ComponentsAPIServer {
		return fmt.Errorf("--components %q is neither all nor apiserver", o.Components)
	}
	if ip := net.ParseIP(o.Listen); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("--listen %q is not a loopback address", o.Listen)
	}
	if o.Port < 0 || o.Port > 65535 {
		return fmt.Errorf("--port %d is no port", o.Port)
	}
	if o.ReadyTimeout <= 0 {
		return fmt.Errorf("--ready-timeout %s is not positive", o.ReadyTimeout)
	}
	if o.Nodes < 0 || o.Nodes > maxNodes {
		return fmt.Errorf("--nodes %d is not between 0 and %d", o.Nodes, maxNodes)
	}
	for _, p := range []*string{&o.Kubeconfig, &o.DataDir, &o.Log, &o.Audit} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	for _, flags := range [][]string{o.APIServerFlags, o.ControllerManagerFlags, o.SchedulerFlags} {
		for _, f := range flags {
			if !strings.HasPrefix(f, "-") {
				return fmt.Errorf("%q is no flag: write it as --name=value", f)
			}
		}
	}
	return nil
}

// errHelp reports whether the error of Parse is a request for help.
func errHelp(err error) bool { return errors.Is(err, pflag.ErrHelp) }
