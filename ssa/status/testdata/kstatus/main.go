// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Program kstatus computes the state of objects by the published library:
// one JSON object per line in, one state per line out.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(r io.Reader, w io.Writer) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var u unstructured.Unstructured
		if err := u.UnmarshalJSON(lines.Bytes()); err != nil {
			return err
		}
		state := "error"
		if res, err := status.Compute(&u); err == nil {
			state = res.Status.String()
		}
		if _, err := fmt.Fprintln(w, state); err != nil {
			return err
		}
	}
	return lines.Err()
}
