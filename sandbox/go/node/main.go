// What a node adds to the control plane: kubelet and scheduler in one binary, named by the first argument.
// A module of its own: who only wants a control plane neither builds nor links these two.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

const usage = "usage: node kubelet|kube-scheduler [flags]"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	// Each program sees its own name as its first argument, as if it had been started alone.
	os.Args = os.Args[1:]
	switch os.Args[0] {
	case "kubelet":
		run(kubelet.NewKubeletCommand(context.Background()))
	case "kube-scheduler":
		run(scheduler.NewSchedulerCommand())
	default:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
}

func run(command *cobra.Command) {
	os.Exit(cli.Run(command))
}
