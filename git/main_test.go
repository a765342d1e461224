// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain looks for what tests left behind: goroutines of this module and
// its temporary directories.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && leaked() {
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // how a TestMain ends
}

// leaked waits for goroutines that are about to end, and reports those that do not.
func leaked() bool {
	var left []string
	tick := time.NewTicker(50 * time.Millisecond) // nothing tells when a goroutine has gone
	defer tick.Stop()
	for range 600 {
		left = left[:0]
		buf := make([]byte, 1<<20)
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(stack, "gitops-kit/sdk/git.") || strings.Contains(stack, "gitops-kit/sdk/git/internal") || strings.Contains(stack, "x/crypto/ssh.") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return false
		}
		<-tick.C
	}
	fmt.Fprintf(os.Stderr, "%d goroutines are left\n%s\n", len(left), strings.Join(left, "\n\n"))
	return true
}
