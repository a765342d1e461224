// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command distribution runs the registry of that name with a configuration
// file. It prints its address, then a line for each request, "method path
// status", and runs until its input ends.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/sirupsen/logrus"
)

var (
	config = flag.String("config", "", "configuration file")
	addr   = flag.String("addr", "127.0.0.1:0", "address to listen on")
)

func main() {
	flag.Parse()
	logrus.SetLevel(logrus.ErrorLevel)
	f, err := os.Open(*config)
	if err != nil {
		log.Fatal(err)
	}
	c, err := configuration.Parse(f)
	if err != nil {
		log.Fatal(err)
	}
	app := handlers.NewApp(context.Background(), c)
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready", l.Addr())
	go func() {
		log.Fatal(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := &status{ResponseWriter: w}
			app.ServeHTTP(s, r)
			fmt.Println(r.Method, r.URL.Path, s.code)
		})))
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// status remembers the code of an answer.
type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	if s.code == 0 {
		s.code = code
	}
	s.ResponseWriter.WriteHeader(code)
}

func (s *status) Write(b []byte) (int, error) {
	if s.code == 0 {
		s.code = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}
