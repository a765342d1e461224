// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	_ "time/tzdata" // time zones of cron jobs

	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // authentication plugins of kubectl
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // the JSON log format
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of client-go
	_ "k8s.io/component-base/metrics/prometheus/version"  // the version metric
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// applets are the real programs, by name. Each takes its arguments from
// os.Args, as it does at home.
func applets() map[string]func(args []string) int {
	return map[string]func(args []string) int{
		"etcd": func(args []string) int {
			os.Args = args
			etcdmain.Main(args)
			return 0
		},
		"kube-apiserver": func(args []string) int {
			os.Args = args
			return cli.Run(apiserver.NewAPIServerCommand())
		},
		"kube-controller-manager": func(args []string) int {
			os.Args = args
			return cli.Run(manager.NewControllerManagerCommand())
		},
		"kube-scheduler": func(args []string) int {
			os.Args = args
			return cli.Run(scheduler.NewSchedulerCommand())
		},
		"kubectl": func(args []string) int {
			os.Args = args
			// The level is needed before the flags are parsed; a wrong one is
			// reported when they are.
			_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(args))
			if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
				util.CheckErr(err)
			}
			return 0
		},
	}
}
